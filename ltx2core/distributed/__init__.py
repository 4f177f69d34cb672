"""More than one process: who takes part, how a step is shared, how gradients meet, and what happens when one dies."""
