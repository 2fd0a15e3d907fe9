"""What lesions are made of: measured, classed, compared and reported. Classes are ours, not a published standard."""
