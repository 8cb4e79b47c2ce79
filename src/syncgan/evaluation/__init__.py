"""What surrounds a fit: runs with their pictures and report. Nothing here imports torch before it must."""
