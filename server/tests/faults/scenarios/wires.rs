//! Faults of the connections between servers and back ends.

use std::fmt;

use anyhow::Result;

use crate::evidence::Evidence;
use crate::harness::{Harness, finish};
use crate::proxy::{Proxy, Wire};
use crate::stage::{Setting, Stage};
use crate::time;

/// Connections with faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Mongo,
    Redis,
    Bus,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mongo => "each server's connection to MongoDB",
            Self::Redis => "each server's connection to Redis",
            Self::Bus => "every connection to the broker",
        })
    }
}

const WAYS: [Wire; 6] =
    [Wire::Reset, Wire::CutAfter(3_000), Wire::DropReplies, Wire::Delay(2_000), Wire::Refuse, Wire::Freeze];

pub async fn play(harness: &mut Harness, name: &str, end: End) -> Result<Evidence> {
    let stage = harness.stage(name, Setting { wires: true, ..Setting::default() }).await?;
    let rounds = harness.seconds(1, 5);
    let (broken, whole) = (harness.seconds(2, 4) * 1_000, 2_000);
    let seconds = 3 + rounds * WAYS.len() as i64 * (broken + whole) / 1_000 + harness.lull_sec();
    let load = harness.load(&stage, seconds)?;
    time::sleep(4_000).await;
    for round in 0..rounds {
        if round == 1 {
            harness.lull().await;
        }
        for way in WAYS {
            let bus = &harness.backends().await?.rocketmq.wire;
            break_wires(&stage, bus, end, way, broken).await;
            time::sleep(whole).await;
        }
    }
    finish(stage, load).await
}

/// Breaks the connections of all servers at once: no server can take over.
async fn break_wires(stage: &Stage, bus: &Proxy, end: End, way: Wire, broken_ms: i64) {
    let now = time::now_ms();
    let of_nodes = stage.nodes.iter().filter_map(|node| node.wires.as_ref());
    let wires: Vec<&Proxy> = match end {
        End::Mongo => of_nodes.map(|wires| &wires.mongo).collect(),
        End::Redis => of_nodes.map(|wires| &wires.redis).collect(),
        End::Bus => vec![bus],
    };
    wires.iter().for_each(|wire| wire.set(way));
    time::sleep(broken_ms).await;
    wires.iter().for_each(|wire| wire.set(Wire::Pass));
    let what = format!("{end} {way}");
    if end == End::Redis {
        stage.recorder.fault_without_delay(&what, now, time::now_ms());
    } else {
        stage.recorder.fault(&what, now, time::now_ms());
    }
}
