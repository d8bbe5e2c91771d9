"""Times a training step of score_sde's own PyTorch networks, for a comparison beside ours.

    git clone https://github.com/yang-song/score_sde_pytorch reference
    python research/rivals/step_time.py --reference=reference --network=ddpmpp --precision=bfloat16

Needs torch and numpy, and a checkout of the reference, which is not part of this project. The step
is the reference's: denoising score matching, the gradient's norm clipped to 1, Adam, the average of
the weights. `--best` tries what a user would: channels-last, torch.compile, fused Adam.
Prints one line of JSON: medians over rounds in ms, and the device.

With `--serve` it is the other half of `paired_steps.py`: after the first steps, for every line N of
its input it takes N steps and prints the ms of one.
"""

import argparse
import contextlib
import importlib
import json
import sys
import time
import types
from pathlib import Path

import numpy as np
import torch

NETWORKS = {
    "ddpmpp": {"embedding_type": "positional", "fir": False, "progressive_input": "none",
               "scale_by_sigma": False, "centered": True},
    "ncsnpp": {"embedding_type": "fourier", "fir": True, "progressive_input": "residual",
               "scale_by_sigma": True, "centered": False},
}  # fmt: skip


def configuration(args):
    """The reference's settings for CIFAR-10, at the width and depth that are asked for."""
    chosen = dict(NETWORKS[args.network])
    data = types.SimpleNamespace(
        image_size=args.resolution, num_channels=3, centered=chosen.pop("centered")
    )
    model = types.SimpleNamespace(
        name="ncsnpp", normalization="GroupNorm", nonlinearity="swish", nf=args.features,
        ch_mult=(1, 2, 2, 2), num_res_blocks=args.blocks, attn_resolutions=(16,),
        resamp_with_conv=True, conditional=True, fir_kernel=[1, 3, 3, 1], skip_rescale=True,
        resblock_type="biggan", progressive="none", progressive_combine="sum",
        attention_type="ddpm", init_scale=0.0, fourier_scale=16, conv_size=3, dropout=0.1,
        sigma_min=0.01, sigma_max=50.0, num_scales=1000, beta_min=0.1, beta_max=20.0, **chosen,
    )  # fmt: skip
    training = types.SimpleNamespace(continuous=True)
    return types.SimpleNamespace(data=data, model=model, training=training)


def native_filter(reference):
    """The reference's filter without its CUDA extension, read from its file."""
    source = (Path(reference) / "op" / "upfirdn2d.py").read_text()
    code = (
        "import torch\nfrom torch.nn import functional as F\n"
        + source[source.index("def upfirdn2d_native") :]
    )
    space: dict = {}
    exec(compile(code, "upfirdn2d_native", "exec"), space)  # the user's own checkout

    def upfirdn2d(x, kernel, up=1, down=1, pad=(0, 0)):
        kernel = kernel.to(x.dtype)
        return space["upfirdn2d_native"](
            x, kernel, up, up, down, down, pad[0], pad[1], pad[0], pad[1]
        )

    return upfirdn2d


def cuda_filter(reference):
    """The reference's CUDA extension, which is compiled now; it knows no bfloat16."""
    sys.path.insert(0, str(reference))
    op = importlib.import_module("op")
    sys.path.pop(0)

    def upfirdn2d(x, kernel, up=1, down=1, pad=(0, 0)):
        return op.upfirdn2d(x.float().contiguous(), kernel, up=up, down=down, pad=pad).to(x.dtype)

    return upfirdn2d


def network(args, device):
    """The reference's network."""
    make = cuda_filter if args.cuda_filter else native_filter
    op = types.ModuleType("op")
    op.upfirdn2d = make(args.reference)
    sys.modules["op"] = op
    stub = types.ModuleType("sde_lib")
    stub.VPSDE = stub.subVPSDE = stub.VESDE = type("SDE", (), {})
    sys.modules["sde_lib"] = stub
    sys.path.insert(0, str(args.reference))
    from models import (
        ncsnpp,  # noqa: F401  # registers itself
        utils,
    )

    return utils.get_model("ncsnpp")(configuration(args)).to(device)


def make_step(args, device):
    """() -> one training step, without waiting for it."""
    torch.manual_seed(0)
    net = network(args, device)
    if args.best:
        net = net.to(memory_format=torch.channels_last)
    called = torch.compile(net, mode=args.compile_mode) if args.best and args.compile else net
    parameters = [p for p in net.parameters() if p.requires_grad]
    average = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.Adam(
        parameters, lr=2e-4, eps=1e-8, fused=True if args.best and device == "cuda" else None
    )
    shape = (args.batch, 3, args.resolution, args.resolution)
    data = torch.rand(shape, device=device)
    if args.best:
        data = data.to(memory_format=torch.channels_last)
    low = args.precision == "bfloat16"
    cast = torch.autocast(device, torch.bfloat16) if low else contextlib.nullcontext()

    def step():
        t = torch.rand(args.batch, device=device) * (1 - 1e-5) + 1e-5
        noise = torch.randn_like(data)
        if args.network == "ddpmpp":
            log_mean = -0.25 * t**2 * 19.9 - 0.05 * t
            mean, std = torch.exp(log_mean), torch.sqrt(1 - torch.exp(2 * log_mean))
            x, label = mean[:, None, None, None] * data, 999 * t
        else:
            std = 0.01 * 5000**t
            x, label = data, std
        x = x + std[:, None, None, None] * noise
        with cast:
            out = called(x, label)
        if args.network == "ddpmpp":
            loss = torch.mean((noise - out.float()) ** 2)
        else:
            loss = torch.mean((out.float() * std[:, None, None, None] + noise) ** 2)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        torch._foreach_lerp_(average, parameters, 1e-4)
        return loss

    return step, sum(p.numel() for p in parameters)


def main():
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--reference", required=True, help="a checkout of score_sde_pytorch")
    add("--network", choices=sorted(NETWORKS), default="ddpmpp")
    add("--features", type=int, default=128)
    add("--blocks", type=int, default=4)
    add("--batch", type=int, default=128)
    add("--resolution", type=int, default=32)
    add("--precision", choices=["float32", "bfloat16"], default="float32")
    add("--best", action="store_true", help="channels-last, torch.compile, fused Adam")
    add("--compile", action=argparse.BooleanOptionalAction, default=True, help="with --best")
    add("--compile_mode", default="default")
    add("--cuda_filter", action="store_true", help="the reference's CUDA extension for filters")
    add("--rounds", type=int, default=5)
    add("--runs", type=int, default=10)
    add("--serve", action="store_true", help="take as many steps as each line of the input asks")
    args = parser.parse_args()
    args.reference = Path(args.reference).resolve()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    start = time.perf_counter()
    step, parameters = make_step(args, device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):
        step()
    wait()
    first = time.perf_counter() - start

    def ms_of(runs):
        start = time.perf_counter()
        for _ in range(runs):
            step()
        wait()
        return (time.perf_counter() - start) / runs * 1e3

    if args.serve:
        print(json.dumps({"first_s": first, "parameters": parameters, "torch": torch.__version__}))
        sys.stdout.flush()
        for line in sys.stdin:
            print(ms_of(int(line)), flush=True)
        return
    times = [ms_of(args.runs) for _ in range(args.rounds)]
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else float("nan")
    way = "eager" if not args.best else f"channels-last, {'compiled' if args.compile else 'eager'}"
    result = {
        "name": f"PyTorch {args.network} {args.precision} {way}",
        "ms": float(np.median(times)), "ms_min": min(times), "ms_max": max(times),
        "images_per_second": args.batch / float(np.median(times)) * 1e3,
        "first_s": first, "peak_mib": peak, "parameters": parameters, "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
    }  # fmt: skip
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
