"""From wrapped phase to the total field and its noise."""
