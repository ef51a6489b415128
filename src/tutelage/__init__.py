"""Tutelage teaches small language models with large ones and lets the small ones answer back."""
