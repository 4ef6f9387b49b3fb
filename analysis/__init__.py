"""From the results table to figures, claims and a report; reads tables only, never images, torch or ray."""
