//! Chinese phrases.

use super::time_of_day::{Half, clock, number};
use super::{Composed, Rhythm};

/// Days of the week, from Sunday. Sunday has a second name.
const DAYS: [char; 7] = ['日', '一', '二', '三', '四', '五', '六'];
/// Parts of a day, with the half that a time of twelve hours belongs to.
const PARTS: [(&str, Half); 8] = [
    ("上午", Half::Morning),
    ("早上", Half::Morning),
    ("凌晨", Half::Morning),
    ("早晨", Half::Morning),
    ("下午", Half::Afternoon),
    ("晚上", Half::Afternoon),
    ("傍晚", Half::Afternoon),
    ("中午", Half::Afternoon),
];

/// Returns the schedule of a phrase.
pub fn parse(phrase: &str) -> Option<Composed> {
    let phrase: String = phrase.chars().filter(|c| !c.is_whitespace()).map(half_width).collect();
    rhythm(&phrase)?.schedule()
}

/// Returns the digit or colon of ASCII in place of its full-width form.
fn half_width(c: char) -> char {
    match c {
        '：' => ':',
        '０'..='９' => char::from_u32(c as u32 - '０' as u32 + '0' as u32).unwrap_or(c),
        other => other,
    }
}

fn rhythm(phrase: &str) -> Option<Rhythm> {
    match phrase {
        "每秒" => return Some(Rhythm::Seconds(1)),
        "每分钟" => return Some(Rhythm::Minutes(1)),
        "每小时" => return Some(Rhythm::Hourly(0)),
        _ => {}
    }
    let rest = phrase.strip_prefix("每隔").or(phrase.strip_prefix('每')).unwrap_or(phrase);
    for (unit, rhythm) in
        [("秒", Rhythm::Seconds as fn(u32) -> Rhythm), ("分钟", Rhythm::Minutes), ("小时", Rhythm::Hours)]
    {
        if let Some(count) = rest.strip_suffix(unit).and_then(number) {
            return Some(rhythm(count));
        }
    }
    if let Some(minute) = rest.strip_prefix("小时的第").or(rest.strip_prefix("小时第")) {
        return number(minute.strip_suffix("分钟").or(minute.strip_suffix('分'))?).map(Rhythm::Hourly);
    }
    if let Some(of_month) = rest.strip_prefix("个月").or(rest.strip_prefix('月')) {
        let (day, time) = of_month.split_once(['日', '号'])?;
        let (hour, minute) = time_of_day(time)?;
        return Some(Rhythm::Monthly(number(day)?, hour, minute));
    }
    let (days, time) = days(rest)?;
    let (hour, minute) = time_of_day(time)?;
    Some(Rhythm::Weekly(days, hour, minute))
}

/// Returns the days of the week as cron writes them, and the rest of the phrase.
fn days(phrase: &str) -> Option<(String, &str)> {
    for (word, days) in [
        ("天", "*"),
        ("日", "*"),
        ("个工作日", "1-5"),
        ("工作日", "1-5"),
        ("周一至周五", "1-5"),
        ("周一到周五", "1-5"),
        ("个周末", "6,0"),
        ("周末", "6,0"),
    ] {
        if let Some(rest) = phrase.strip_prefix(word) {
            return Some((days.to_owned(), rest));
        }
    }
    let (mut days, mut rest) = (Vec::new(), phrase);
    while let Some(after) = ["周", "星期", "礼拜"].into_iter().find_map(|week| rest.strip_prefix(week)) {
        let name = after.chars().next()?;
        let day = DAYS.iter().position(|day| *day == name).or((name == '天').then_some(0))?;
        days.push(day.to_string());
        rest = after[name.len_utf8()..].trim_start_matches(['、', '，', ',', '和']);
    }
    (!days.is_empty()).then(|| (days.join(","), rest))
}

fn time_of_day(text: &str) -> Option<(u32, u32)> {
    let text = text.trim_start_matches(['的', '在']);
    let part = PARTS.iter().find_map(|(part, half)| Some((text.strip_prefix(part)?, *half)));
    let (text, half) = part.map_or((text, None), |(text, half)| (text, Some(half)));
    let (hour, minute) = text.split_once([':', '点', '时'])?;
    let minute = match minute {
        "半" => "30",
        "整" => "",
        minute => minute.strip_suffix('分').unwrap_or(minute),
    };
    // A time of 24 hours may have its part of the day too, such as 晚上20点.
    let half = half.filter(|_| number(hour).is_some_and(|hour| hour <= 12));
    clock(hour, minute, half)
}
