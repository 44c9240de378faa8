"""The language model: loading it, generating with it, fine-tuning it with LoRA."""
