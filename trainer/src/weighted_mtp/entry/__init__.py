"""What runs first in the container: fetch and verify the inputs, resume, train, and upload what training makes.

    python -m weighted_mtp.entry [--fetch URI=PATH]... --checkpoints URI [--max-duration SECONDS] -- COMMAND...

The trainer knows directories only; everything about object storage is here. Nothing here imports torch.
"""
