"""The student of `crossfit`: a linear and a small attention branch over one bag, four heads.

Each branch has a head for its own risk and one for what the slide shows of the teacher's risk. The
risk of a patient is the sum of the heads, all in units of a log hazard: the spread of a prediction
is what the slide shows, so a teacher that it does not show adds next to nothing. The twin has the
own heads alone. Pan-cancer heads are linear in the same mean: their weights are summed with those
of the cohort's own linear heads, and the graph stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from training.learning import survival
from training.learning.attention import masked_softmax
from training.learning.bags import Patients

CAP = 5.0


class Widths(NamedTuple):
    """Sizes of the attention branch."""

    members: int = 2
    hidden: int = 48
    attention: int = 24
    drop: float = 0.3
    input_drop: float = 0.1


class AttentionBranch(nn.Module):
    """`members` gated-attention poolings side by side (Ilse, Tomczak and Welling 2018)."""

    def __init__(self, instances: Tensor, heads: int, widths: Widths) -> None:
        super().__init__()
        self.widths = widths
        members, hidden, inner = widths.members, widths.hidden, widths.attention
        self.register_buffer("mean", instances.mean(dim=0))
        self.register_buffer("std", instances.std(dim=0) + 1e-6)

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape) / shape[-2] ** 0.5)

        self.embed = drawn(members, instances.shape[1], hidden)
        self.bias = nn.Parameter(torch.zeros(members, 1, 1, hidden))
        self.content, self.gate = drawn(members, hidden, inner), drawn(members, hidden, inner)
        self.score = drawn(members, inner, 1)
        self.heads = nn.Parameter(torch.zeros(members, hidden, heads))
        self.is_silent = False

    def silence(self) -> None:
        """Attention is even and the heads say 0: what is left to a student that is linear."""
        self.is_silent = True
        with torch.no_grad():
            self.score.zero_()
            self.heads.zero_()

    def forward(self, bags: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Heads [M, B, H], attention [M, B, N] and pooled [M, B, hidden] of bags [B, N, D]."""
        w = self.widths
        x = ((bags - self.mean) / self.std).clamp(-CAP, CAP)
        x = dropout(x, w.input_drop, self.training)
        h = torch.einsum("bnd,mdh->mbnh", x, self.embed) + self.bias
        h = dropout(torch.relu(h), w.drop, self.training)
        content = torch.tanh(torch.einsum("mbnh,mha->mbna", h, self.content))
        gate = torch.sigmoid(torch.einsum("mbnh,mha->mbna", h, self.gate))
        scores = torch.einsum("mbna,mao->mbn", content * gate, self.score).clamp(-8, 8)
        attention = masked_softmax(scores, mask)
        pooled = torch.einsum("mbn,mbnh->mbh", attention, h)
        heads = torch.einsum("mbh,mhk->mbk", dropout(pooled, w.drop, self.training), self.heads)
        return heads, attention, pooled


class SlideRisk(nn.Module):
    """Both branches; what is fitted in closed form and by counting is held as buffers."""

    def __init__(
        self,
        attention: AttentionBranch,
        linear: Tensor,
        mean: Tensor,
        std: Tensor,
        estimates: int = 2,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.estimates = estimates
        """How many heads estimate the teacher's risk; their sum is that many times it."""
        self.register_buffer("linear", linear)
        """[D, H] weights on the standardized mean of the instances, to log hazards."""
        self.register_buffer("pool_mean", mean)
        self.register_buffer("pool_std", std)
        heads = linear.shape[1]
        members = attention.widths.members
        self.register_buffer("head_mean", torch.zeros(1 + members, heads))
        self.register_buffer("base", torch.zeros(survival.BINS))
        """Logits of the baseline hazards, at the mean risk."""
        self.register_buffer("risk_std", torch.ones(()))

    def raw(self, bags: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Heads [1 + M, B, H] before centering, attention [B, N], pooled [B, M * hidden]."""
        count = mask.sum(dim=1, keepdim=True)
        mean = (bags * mask.unsqueeze(-1)).sum(dim=1) / count
        pooled = ((mean - self.pool_mean) / self.pool_std).clamp(-CAP, CAP)
        heads, attention, embedded = self.attention(bags, mask)
        stacked = torch.cat([(pooled @ self.linear).unsqueeze(0), heads])
        flat = embedded.transpose(0, 1).flatten(1)
        return stacked, attention.mean(dim=0), flat

    def parts(self, bags: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Centered heads [B, 2, H] (linear, attention), attention [B, N], pooled."""
        raw, attention, embedded = self.raw(bags, mask)
        return self.log_hazards(raw), attention, embedded

    def log_hazards(self, raw: Tensor) -> Tensor:
        """Heads [B, 2, H] of raw heads [1 + M, B, H]: the linear one, the mean of the members.

        0 is the mean of the training patients.
        """
        members = raw - self.head_mean.unsqueeze(1)
        return torch.stack([members[0], members[1:].mean(dim=0)], dim=1)

    def each(self, bags: Sequence[Tensor]) -> Tensor:
        """Raw heads [1 + M, P, H] of P bags, one after the other: no padding to the longest."""
        with torch.inference_mode():
            found = [
                self.raw(bag.unsqueeze(0), torch.ones(1, len(bag), dtype=torch.bool))[0]
                for bag in bags
            ]
        return torch.cat(found, dim=1).clone()

    def risks(self, raw: Tensor) -> Tensor:
        """Risk [P] of raw heads: their sum, in standard deviations of the training patients."""
        return self.log_hazards(raw).sum(dim=(1, 2)) / self.risk_std

    def fit_scales(self, patients: Patients) -> None:
        """Sets the zero of the heads, the unit of the risk and the baseline hazards."""
        raw = self.each(patients.bags)
        with torch.no_grad():
            self.head_mean.copy_(raw.mean(dim=1))
            sums = self.log_hazards(raw).sum(dim=(1, 2))
            self.risk_std.copy_(sums.std(correction=0) + 1e-9)
            for k in range(survival.BINS):
                at_risk = (patients.bin >= k).sum()
                deaths = ((patients.bin == k) & (patients.event > 0)).sum()
                self.base[k] = torch.logit((deaths + 0.5) / (at_risk + 1))


class CrossfitOutputs(NamedTuple):
    """What the student says of one slide."""

    risk: Tensor
    """[1] in standard deviations of the training patients, higher is worse."""
    survival: Tensor
    """[4] probability of living past the end of each time bin."""
    attention: Tensor
    """[N], sums to 1: mean over the members."""
    embedding: Tensor
    """[M * hidden]."""
    teacher_risk: Tensor
    """[1] what the slide shows of the teacher's risk, a log hazard."""


class SlideStudent(nn.Module):
    """One slide: features [N, D] to `CrossfitOutputs`."""

    def __init__(self, network: SlideRisk) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> CrossfitOutputs:
        """N is dynamic; nothing branches on the data."""
        everything = torch.ones_like(features[:, 0], dtype=torch.bool).unsqueeze(0)
        heads, attention, embedded = self.network.parts(features.unsqueeze(0), everything)
        risk = heads.sum(dim=(1, 2)) / self.network.risk_std
        logits = self.network.base + risk
        teacher = heads[:, :, -1].sum(dim=1) / self.network.estimates
        return CrossfitOutputs(
            risk, survival.survival_curve(logits), attention[0], embedded[0], teacher
        )
