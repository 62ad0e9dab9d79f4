"""What users bring to change a model: LoRAs, words, autoencoders, pictures to be like."""
