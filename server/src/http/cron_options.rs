//! Conversion of the options of cron schedules between the API and the engine.

use taskcenter_client::resources::{CronDialect, CronDst, CronGap, CronRepeat};

use crate::core::cron::{CronOptions, Dialect, Dst, Gap, Repeat};

/// Converts the options of a spec.
pub fn options(also: Vec<String>, dialect: CronDialect, dst: CronDst) -> CronOptions {
    let dialect = match dialect {
        CronDialect::Unix => Dialect::Unix,
        CronDialect::Quartz => Dialect::Quartz,
    };
    let gap = dst.gap.map(|gap| match gap {
        CronGap::Skip => Gap::Skip,
        CronGap::After => Gap::After,
    });
    let repeat = dst.repeat.map(|repeat| match repeat {
        CronRepeat::First => Repeat::First,
        CronRepeat::Last => Repeat::Last,
        CronRepeat::Both => Repeat::Both,
    });
    CronOptions { also, dialect, dst: Dst { gap, repeat } }
}

/// Converts the options to the members of a spec.
pub fn of(options: CronOptions) -> (Vec<String>, CronDialect, CronDst) {
    let dialect = match options.dialect {
        Dialect::Unix => CronDialect::Unix,
        Dialect::Quartz => CronDialect::Quartz,
    };
    let gap = options.dst.gap.map(|gap| match gap {
        Gap::Skip => CronGap::Skip,
        Gap::After => CronGap::After,
    });
    let repeat = options.dst.repeat.map(|repeat| match repeat {
        Repeat::First => CronRepeat::First,
        Repeat::Last => CronRepeat::Last,
        Repeat::Both => CronRepeat::Both,
    });
    (options.also, dialect, CronDst { gap, repeat })
}
