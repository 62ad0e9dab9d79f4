"""The trainings of the embedded text-to-image model: autoencoder, denoiser, second stage."""
