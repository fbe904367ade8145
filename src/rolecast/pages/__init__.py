"""What a gateway answers that is no dialect of models."""
