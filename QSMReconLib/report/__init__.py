"""One HTML file per scan: what went in, what was done, what came out."""
