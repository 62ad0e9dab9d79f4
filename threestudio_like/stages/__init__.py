"""What methods are made of: the stages of distillation, rounds and painting."""
