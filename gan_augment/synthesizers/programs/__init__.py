"""Generators that come as programs, each as a function that `wrap` takes: ONNX, torch.export, TorchScript, medigan.

ONNX and torch.export files describe a computation in a fixed vocabulary and are vetted, then run. TorchScript files and
medigan packages are code, and are opened only with `trust=True`.
"""
