"""Data steps: downloads that resume and are verified, models from NGC, label formats. One file a verb."""
