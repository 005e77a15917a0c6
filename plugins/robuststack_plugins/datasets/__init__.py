"""Embedded, procedural, downloaded and a user's own image sets."""

from robuststack import hookimpl
from robuststack.plugin.registry import Register

HERE = "robuststack_plugins.datasets"


@hookimpl
def register_dataset(register: Register) -> None:
    register("digits", f"{HERE}.digits:Digits")
    register("tradeoff", f"{HERE}.tradeoff:Tradeoff")
    register("cifar10", f"{HERE}.cifar:Cifar10")
    register("cifar100", f"{HERE}.cifar:Cifar100")
    register("svhn", f"{HERE}.svhn:Svhn")
    register("stl10", f"{HERE}.stl10:Stl10")
    register("tiny_imagenet", f"{HERE}.tiny_imagenet:TinyImagenet")
    register("folder", f"{HERE}.folder:Folder")
    register("npz", f"{HERE}.npz:Npz")
    register("mnist", f"{HERE}.mnist:Mnist")
    register("fashion_mnist", f"{HERE}.mnist:FashionMnist")
