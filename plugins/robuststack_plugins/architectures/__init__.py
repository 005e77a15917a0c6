"""Residual networks for small images, and the classification models of torchvision and timm."""

from robuststack import hookimpl
from robuststack.plugin.registry import Register

HERE = "robuststack_plugins.architectures"


@hookimpl
def register_architecture(register: Register) -> None:
    for depth in (8, 20, 32, 44, 56):
        register(f"resnet{depth}", f"{HERE}.resnet_cifar:CifarResNet", preset={"depth": depth})
    for depth in (18, 34, 50):
        register(f"resnet{depth}", f"{HERE}.resnet:ResNet", preset={"depth": depth})
    for depth, widen in ((16, 8), (40, 2)):
        register(f"wrn{depth}_{widen}", f"{HERE}.wide_resnet:WideResNet", preset={"depth": depth, "widen": widen})
    register("wrn-D-K", f"{HERE}.wide_resnet:WideResNet", pattern=r"wrn-(?P<depth>\d+)-(?P<widen>\d+)")
    register(
        "torchvision:NAME", f"{HERE}.torchvision_network:TorchvisionNetwork", pattern=r"torchvision:(?P<model>\S+)"
    )
    register("timm:NAME", f"{HERE}.timm_network:TimmNetwork", pattern=r"timm:(?P<model>\S+)")
