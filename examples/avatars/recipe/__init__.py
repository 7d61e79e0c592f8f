"""The recipe of the bundled model: renders, generator, W encoder, hypernetwork, evaluator, all on a CPU.

    python -m examples.avatars.recipe --out runs/avatars

Each stage resumes from its own folder. Held-out figures of every stage are in its `log.jsonl`.
"""
