"""Networks that predict weights: HyperStyle's relative offsets, HyperInverter's residuals; and their codes."""
