"""One reading of a forced list of tiles by a peer's own classes; runs in the peer's environment.

    python peer_worker.py tiatoolbox|wsinfer|wsidicom SLIDE PLACES.npy MODEL.ts

Prints JSON: tiles, seconds, CPU seconds of all processes, peak MB of this one. Imports, loading and
the first two calls of the network, in which TorchScript optimizes it, are not counted.
"""

import importlib
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
SIDE = 224
MODULES = {
    "tiatoolbox": ("tiatoolbox.models.dataset.dataset_abc",),
    "wsinfer": ("wsinfer.modellib.data", "torchvision.transforms", "h5py"),
    "wsidicom": ("wsidicom",),
}


def normalized(pixels):
    """What ToTensor and Normalize of torchvision do: float32 [3, H, W]."""
    tensor = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float().div(255)
    return (tensor - torch.from_numpy(MEAN)[:, None, None]) / torch.from_numpy(STD)[:, None, None]


def tiatoolbox_loader(slide, places):
    from tiatoolbox.models.dataset.dataset_abc import WSIPatchDataset

    dataset = WSIPatchDataset(
        slide, patch_input_shape=[SIDE, SIDE], stride_shape=[SIDE, SIDE], resolution=0.5,
        units="mpp", auto_get_mask=False,
    )  # fmt: skip
    left, top = places[:, 1], places[:, 0]
    dataset.inputs = np.stack((left, top, left + SIDE, top + SIDE), axis=1)
    dataset.preproc_func = normalized
    return (batch["image"] for batch in DataLoader(dataset, batch_size=32, num_workers=1))


def wsinfer_loader(slide, places):
    import h5py
    from torchvision import transforms
    from wsinfer.modellib.data import WholeSlideImagePatches

    path = Path(tempfile.mkdtemp()) / "places.h5"
    with h5py.File(path, "w") as file:
        coords = file.create_dataset("coords", data=places[:, ::-1])
        coords.attrs["patch_level"], coords.attrs["patch_size"] = 0, SIDE
    transform = transforms.Compose(
        [transforms.Resize((SIDE, SIDE)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )
    dataset = WholeSlideImagePatches(slide, path, transform)
    loader = DataLoader(dataset, batch_size=32, num_workers=1, worker_init_fn=dataset.worker_init)
    return (images for images, _ in loader)


class Regions(Dataset):
    """Tiles by wsidicom's read_region, opened in the worker."""

    def __init__(self, slide, places):
        self.slide, self.places, self.opened = slide, places, None

    def __len__(self):
        return len(self.places)

    def __getitem__(self, at):
        from wsidicom import WsiDicom

        self.opened = self.opened or WsiDicom.open(Path(self.slide).parent)
        top, left = self.places[at].tolist()
        return normalized(self.opened.read_region((left, top), 0, (SIDE, SIDE)))


def wsidicom_loader(slide, places):
    return iter(DataLoader(Regions(slide, places), batch_size=32, num_workers=1))


def cpu():
    """CPU seconds of this process and of those it has waited for."""
    both = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in both)


def peak_mb():
    """Not ru_maxrss: that begins with the peak of the process that started this one."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main():
    kind, slide, places, model = sys.argv[1:]
    torch.set_num_threads(2)
    network = torch.jit.load(model).eval()
    given = np.load(places)
    for name in MODULES[kind]:
        importlib.import_module(name)
    with torch.inference_mode():
        for _ in range(2):
            network(torch.zeros(32, 3, SIDE, SIDE))
    before = cpu()
    start = time.perf_counter()
    loader = globals()[f"{kind}_loader"](slide, given)
    done = 0
    with torch.inference_mode():
        for images in loader:
            done += len(network(torch.as_tensor(images)))
    seconds = time.perf_counter() - start
    del loader
    found = {"tiles": done, "seconds": seconds, "cpu": cpu() - before, "mb": peak_mb()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
