//! Chinese words.

use super::Words;
use crate::core::alert::{AlertTransition, Measure, Severity};

pub const WORDS: Words = Words {
    severity,
    change,
    title,
    value,
    advice,
    all: "全部",
    since: "开始于",
    more: |count| format!("另有 {count} 项"),
    alerts: |count| format!("{count} 条告警"),
    test: ("测试消息", "该通道可用："),
};

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "提示",
        Severity::Warning => "警告",
        Severity::Critical => "严重",
    }
}

fn change(change: AlertTransition) -> &'static str {
    match change {
        AlertTransition::Raised => "触发",
        AlertTransition::Reminder => "持续中",
        AlertTransition::Cleared => "已恢复",
    }
}

fn title(measure: Measure) -> &'static str {
    match measure {
        Measure::Fires => "每分钟触发次数过多",
        Measure::Due => "到期任务堆积",
        Measure::Unreported => "执行结果未上报",
        Measure::Lag => "消费积压",
        Measure::DeadRuns => "任务执行失败（dead）",
        Measure::FirstDead => "一段时间以来首次失败（dead）",
        Measure::NoWorker => "队列没有 worker",
        Measure::ExpiredLeases => "租约过期",
        Measure::Undecided => "任务严重延迟",
        Measure::BackEndDown => "后端不可用",
        Measure::Clock => "时钟错误或被修改",
        Measure::NodesMissing => "节点缺失",
        Measure::LimitSaturated => "并发限制已满",
        Measure::Lateness => "任务触发延迟",
    }
}

fn value(measure: Measure, value: u64, threshold: i64) -> String {
    match measure {
        Measure::FirstDead => format!("{value} 次失败"),
        Measure::NoWorker | Measure::LimitSaturated => format!("{value} 次执行在等待"),
        Measure::Undecided => format!("延迟 {value} 秒（阈值 {threshold} 秒）"),
        Measure::BackEndDown if value == 0 => "正常".to_owned(),
        Measure::BackEndDown => "不可用".to_owned(),
        Measure::Clock => format!("{value} 毫秒（阈值 {threshold} 毫秒）"),
        Measure::NodesMissing => format!("缺少 {value} 个"),
        Measure::Lateness => format!("1 % 的执行延迟达 {value} 毫秒（阈值 {threshold} 毫秒）"),
        _ => format!("{value}（阈值 {threshold}）"),
    }
}

fn advice(measure: Measure) -> &'static str {
    match measure {
        Measure::Fires => "请查找触发过于频繁的任务：taskcenter stat。",
        Measure::Due => "节点触发过慢或无法投递：请检查 /readyz 和日志。",
        Measure::Unreported => "消费者没有上报结果：请确认其正在运行并能访问服务器。",
        Measure::Lag => "请增加消费者或 worker，或排查其变慢的原因。",
        Measure::DeadRuns => "请查看错误：taskcenter run list --state dead。修复后重试。",
        Measure::FirstDead => "请查看错误：taskcenter run list --state dead。",
        Measure::NoWorker => "请启动从该队列领取任务的 worker。",
        Measure::ExpiredLeases => "worker 停止或卡住：请检查其日志，或增大 lease_ms。",
        Measure::Undecided => "请检查各节点的 /readyz：存储、消息总线或时钟导致任务等待。",
        Measure::BackEndDown => "请检查后端和网络；/readyz 给出原因。",
        Measure::Clock => "请检查机器的时间服务（NTP）。",
        Measure::NodesMissing => "请检查是否有节点停止，并重新启动它。",
        Measure::LimitSaturated => "请排查其执行变慢的原因，或增大该限制的 max：taskcenter queue list。",
        Measure::Lateness => "请在控制台概览中比较各阶段的延迟，并检查节点负载、存储和消息总线。",
    }
}
