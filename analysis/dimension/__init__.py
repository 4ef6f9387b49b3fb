"""Estimates of the latent dimension, side by side, the controls that check them, and the card that shows them."""
