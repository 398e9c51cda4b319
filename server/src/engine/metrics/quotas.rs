//! Metrics of the quotas of tokens.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByQuota {
    quota: &'static str,
}

#[derive(Debug, Default)]
pub struct QuotaMetrics {
    refusals: Family<ByQuota, Counter<u64, AtomicU64>>,
}

impl QuotaMetrics {
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests to create tasks that a quota of their token has refused";
        registry.register("quota_refusals", help, self.refusals.clone());
    }

    /// Counts a request that the quota has refused.
    pub fn refused(&self, quota: &'static str) {
        self.refusals.get_or_create_owned(&ByQuota { quota }).inc();
    }
}
