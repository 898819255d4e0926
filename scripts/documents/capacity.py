"""Computes the capacity and cost of the planned service from the measured throughput, for docs/capacity.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

HOURS_A_MONTH: Final = 730
SECONDS_A_HOUR: Final = 3600
ZONES: Final = 3


@dataclass(frozen=True)
class Assumptions:
    """What the plan assumes; everything else is measured.

    Attributes:
        utilization: The share of a server's throughput that is planned for the peak.
        mean_to_peak: The mean load of a month as a share of the peak.
        intake_rate: Requests a second through the intake for each vCPU.
        vcpu_hour: USD for a vCPU-hour of a general-purpose Autopilot pod.
        gib_hour: USD for a GiB-hour of memory of such a pod.
        fixed_hour: USD an hour for the cluster and one load balancer.
    """

    utilization: float = 0.6
    mean_to_peak: float = 0.4
    intake_rate: float = 400.0
    vcpu_hour: float = 0.0445
    gib_hour: float = 0.0049
    fixed_hour: float = 0.10 + 0.025


@dataclass(frozen=True)
class Sizes:
    """The pods of a load, as the plan fixes them.

    Attributes:
        server_vcpus: The vCPUs of a model server.
        server_minimum: The smallest number of model servers.
        canaries: The number of canary servers.
        intake_vcpus: The vCPUs of an intake pod.
        intake_minimum: The smallest number of intake pods.
        server_gib: The memory of a model server.
        intake_gib: The memory of an intake pod.
    """

    server_vcpus: float
    server_minimum: int
    canaries: int
    intake_vcpus: float
    intake_minimum: int
    server_gib: float = 2.0
    intake_gib: float = 0.5


SIZES: Final[Mapping[int, Sizes]] = {
    1: Sizes(1.0, 2, 1, 0.25, 2),
    100: Sizes(2.0, 3, 1, 0.5, 3),
    10_000: Sizes(2.0, 3, 2, 1.0, 3),
}
"""The planned pods by the peak in images a second."""


@dataclass(frozen=True)
class Pods:
    """The pods that carry a load."""

    carrying: int
    servers: int
    intakes: int


@dataclass(frozen=True)
class Plan:
    """Pods and cost for a peak load.

    Attributes:
        peak: Images a second at the peak.
        sizes: The sizes of the pods.
        at_peak: The pods at the peak.
        at_mean: The pods at the mean load.
        vcpus: All vCPUs at the peak.
        gib: All memory at the peak.
        month: USD a month if the pods of the peak always run.
        month_autoscaled: USD a month if the pods follow the mean load.
        million: USD for a million images, autoscaled.
    """

    peak: int
    sizes: Sizes
    at_peak: Pods
    at_mean: Pods
    vcpus: float
    gib: float
    month: float
    month_autoscaled: float
    million: float


class Capacity:
    """The measured figures, the assumptions, and the plans that follow from both."""

    def __init__(self, measured: Mapping[str, Any], assumptions: Assumptions | None = None) -> None:
        """Takes the result of `make bench-serving`, measured on 2 cores."""
        self.figures = {figure["figure"]: figure for figure in measured["figures"]}
        self.machine = measured["machine"]
        self.assumptions = assumptions or Assumptions()
        self.throughput = self.value("64 clients over REST")
        self.plans = {peak: self._plan(peak, sizes) for peak, sizes in SIZES.items()}

    def value(self, figure: str) -> float:
        """Returns a measured value."""
        return float(self.figures[figure]["value"])

    def spread(self, figure: str) -> list[float]:
        """Returns the smallest and the largest of the repeated measurements."""
        return list(self.figures[figure]["spread"])

    @property
    def planned_rate(self) -> float:
        """Images a second that a server of 2 vCPUs is planned for."""
        return self.assumptions.utilization * self.throughput

    @property
    def images_a_vcpu_second(self) -> float:
        """Planned images for each vCPU-second."""
        return self.planned_rate / 2

    @property
    def rate_of_two_zones(self) -> float:
        """Images a second that two servers of 2 vCPUs carry, when the third zone is down."""
        return 2 * self.planned_rate

    def batch(self, images: float) -> tuple[float, float]:
        """Returns the seconds on 2 vCPUs and the USD of scoring images in batch, at the bare model's throughput."""
        rate = self.throughput_bare
        seconds = images / rate
        prices = self.assumptions
        return seconds, seconds / SECONDS_A_HOUR * (2 * prices.vcpu_hour + 2 * prices.gib_hour)

    @property
    def throughput_bare(self) -> float:
        """Images a second of the SavedModel without a server, at its best batch size."""
        return next(self.value(name) for name in self.figures if name.startswith("bare, best batch size"))

    def queue_seconds(self, batches: int, batch_size: int) -> float:
        """Returns how long a request at the end of a full queue waits."""
        return batches * batch_size / self.throughput

    def _plan(self, peak: int, sizes: Sizes) -> Plan:
        at_peak, at_mean = self._pods(peak, sizes), self._pods(self.assumptions.mean_to_peak * peak, sizes)
        images = self.assumptions.mean_to_peak * peak * HOURS_A_MONTH * SECONDS_A_HOUR
        autoscaled = self._month(at_mean, sizes)
        return Plan(
            peak=peak,
            sizes=sizes,
            at_peak=at_peak,
            at_mean=at_mean,
            vcpus=_total(at_peak, sizes, sizes.server_vcpus, sizes.intake_vcpus),
            gib=_total(at_peak, sizes, sizes.server_gib, sizes.intake_gib),
            month=self._month(at_peak, sizes),
            month_autoscaled=autoscaled,
            million=1e6 * autoscaled / images,
        )

    def _pods(self, load: float, sizes: Sizes) -> Pods:
        """Returns the pods for a load; the lost zone's share runs in the others."""
        spare = ZONES / (ZONES - 1)
        server_rate = self.planned_rate * sizes.server_vcpus / 2
        carrying = math.ceil(load / server_rate)
        intakes = math.ceil(load / (self.assumptions.utilization * self.assumptions.intake_rate * sizes.intake_vcpus))
        return Pods(
            carrying=carrying,
            servers=max(sizes.server_minimum, math.ceil(spare * carrying)),
            intakes=max(sizes.intake_minimum, math.ceil(spare * intakes)),
        )

    def _month(self, pods: Pods, sizes: Sizes) -> float:
        prices = self.assumptions
        vcpus = _total(pods, sizes, sizes.server_vcpus, sizes.intake_vcpus)
        gib = _total(pods, sizes, sizes.server_gib, sizes.intake_gib)
        return HOURS_A_MONTH * (prices.vcpu_hour * vcpus + prices.gib_hour * gib + prices.fixed_hour)

    def rows(self) -> Iterable[tuple[str, list[str]]]:
        """Returns the rows of the capacity table: a name, and a value for each peak."""
        plans = list(self.plans.values())
        yield "model servers to carry the load", [f"{plan.at_peak.carrying}" for plan in plans]
        yield "model servers, one of three zones may fail", [f"{plan.at_peak.servers}" for plan in plans]
        yield "canary servers", [f"{plan.sizes.canaries}" for plan in plans]
        yield "intake pods", [f"{plan.at_peak.intakes}" for plan in plans]
        yield "vCPUs in all", [f"{plan.vcpus:g}" for plan in plans]
        yield "GiB in all", [f"{plan.gib:g}" for plan in plans]
        yield "USD a month, always sized for the peak", [f"{plan.month:,.0f}" for plan in plans]
        pairs = [f"{plan.at_mean.servers} and {plan.at_mean.intakes}" for plan in plans]
        yield "servers and intake pods at the mean load", pairs
        yield "USD a month, autoscaled", [f"{plan.month_autoscaled:,.0f}" for plan in plans]
        yield "USD for a million images", [f"{plan.million:,.2f}" for plan in plans]


def _total(pods: Pods, sizes: Sizes, server: float, intake: float) -> float:
    return (pods.servers + sizes.canaries) * server + pods.intakes * intake
