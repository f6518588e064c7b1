"""Real training: the neural predictor on ImageNet-sized networks that are really trained.

Modules, in the order in which data flows through them:

- ``space``, ``costs``, ``latency``: the ProxylessNAS-mobile space and what its networks cost,
  without torch.
- ``mobile``, ``cell_network``, ``architectures``: the networks in torch.
- ``sources``, ``shards``, ``transforms``, ``loading``: images from folders or tar shards.
- ``settings``, ``optimisers``, ``average``, ``checkpoints``, ``loop``: one training.
- ``ledger``, ``strategies``, ``engines``, ``study``: many trainings, and the search over them.

torch, torchvision, Pillow and ray are optional: they are imported by the modules that need them,
never by this one.
"""
