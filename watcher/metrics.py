"""Every metric of the daemon, in one place; their names and labels are part of the public contract."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_DELAY_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 7.5, 10, 15, 30, 60, 300, 1800, 7200, 43200, 86400, 259200)


class Metrics:
    """The daemon's metrics on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, namespace="watcher", registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, namespace="watcher", registry=self.registry)

        def delay(name: str, text: str) -> Histogram:
            return Histogram(name, text, namespace="watcher", registry=self.registry, buckets=_DELAY_BUCKETS)

        self.detection_delay = delay("detection_delay_seconds", "From a task's updated_at to its detection")
        self.visibility_lateness = delay(
            "visibility_lateness_seconds",
            "From a task's created_at to its discovery, of rows that were not there when their window was read",
        )
        self.delivery_delay = delay("delivery_delay_seconds", "From a task's updated_at to an endpoint's 2xx")
        self.poll_requests = counter(
            "poll_requests_total", "Requests spent on the API by polling", "plan", "outcome"
        )
        self.poll_requests_lower_bound = gauge(
            "poll_requests_lower_bound", "Fewest requests that the last cycle of all scopes could have taken"
        )
        self.events_published = counter("events_published_total", "Events appended to the stream", "type")
        self.in_flight_tasks = gauge("in_flight_tasks", "Tasks seen that have not ended")
        self.coverage_lag = gauge(
            "coverage_lag_seconds", "Age of the oldest moment not yet covered by a complete scan"
        )
        self.last_complete_scan = gauge(
            "last_complete_scan_timestamp_seconds", "When every scope had been scanned completely, unix time"
        )
        self.delivery_attempts = counter(
            "delivery_attempts_total", "Webhook attempts by their outcome", "endpoint", "outcome"
        )
        self.delivery_queue_depth = gauge(
            "delivery_queue_depth",
            "Deliveries waiting, and events that one that lags has not got to",
            "endpoint",
        )
        self.delivery_oldest_undelivered = gauge(
            "delivery_oldest_undelivered_seconds", "Age of the oldest delivery waiting", "endpoint"
        )
        self.dead_letters = gauge("dead_letters", "Deliveries given up and kept", "endpoint")
        self.endpoint_paused = gauge(
            "endpoint_paused",
            "1 while nothing is sent: it answered 410, failed for days, or by hand",
            "endpoint",
        )
        self.lease_held = gauge("lease_held", "1 while this process holds the shard's lease", "shard")
        self.replicas = gauge("replicas", "Daemons that live, as this one was last told by the store")
        self.upstream_errors = counter("upstream_errors_total", "Failed requests to the API", "reason")
        self.rate_budget_remaining = gauge(
            "rate_budget_remaining", "Requests that the budget would allow at this moment"
        )
        self.reconciled_rows = counter(
            "reconciled_rows_total", "Rows read again at random and compared with what the store knows"
        )
        self.reconcile_mismatches = counter(
            "reconcile_mismatches_total", "Ended tasks of which the store should have known and did not: 0"
        )
        self.hints = counter(
            "hints_total", "Hints by who gave them and what became of them", "source", "outcome"
        )
        self.hint_recall = gauge(
            "hint_recall", "Share of the tasks that ended lately which had been hinted; 0 before any has"
        )
        self.breaker_open = gauge(
            "breaker_open", "1 while requests are held back because the API as a whole is failing"
        )
        self.alerts_sent = counter("alerts_sent_total", "Alert notifications by their outcome", "outcome")
