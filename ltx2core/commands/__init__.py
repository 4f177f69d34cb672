"""Sub-commands of ``python -m ltx2core`` that have a file of their own: ``add(commands)`` each."""
