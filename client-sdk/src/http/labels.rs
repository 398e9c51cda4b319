//! Filters by labels as parameters of a query string: `label.KEY=VALUE`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serializer};

const PREFIX: &str = "label.";

pub(super) fn serialize<S: Serializer>(
    labels: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter().map(|(key, value)| (format!("{PREFIX}{key}"), value)))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let parameters = BTreeMap::<String, String>::deserialize(deserializer)?.into_iter();
    Ok(parameters.filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value))).collect())
}
