//! The dashboard of Grafana.

use serde_json::{Value, json};

use super::table::{PANELS, Panel};

/// Columns of the grid of Grafana, and size of a panel.
const COLUMNS: usize = 24;
const WIDTH: usize = 8;
const HEIGHT: usize = 8;

/// Returns the file of the dashboard.
pub fn dashboard() -> String {
    let dashboard = json!({
        "uid": "taskcenter",
        "title": "taskcenter",
        "schemaVersion": 39,
        "editable": true,
        "refresh": "30s",
        "time": { "from": "now-3h", "to": "now" },
        "templating": { "list": [
            { "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus" },
            {
                "name": "job",
                "label": "Job",
                "type": "query",
                "datasource": source(),
                "query": "label_values(taskcenter_shards_held, job)",
                "includeAll": true,
                "multi": true,
                "refresh": 2,
            },
        ] },
        "panels": panels(),
    });
    serde_json::to_string_pretty(&dashboard).expect("a dashboard is JSON") + "\n"
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Returns the panels, with a heading before each row.
fn panels() -> Vec<Value> {
    let (mut panels, mut x, mut y, mut row) = (Vec::new(), 0, 0, "");
    for panel in &PANELS {
        if panel.row != row {
            y += if x > 0 { HEIGHT } else { 0 };
            let place = json!({ "x": 0, "y": y, "w": COLUMNS, "h": 1 });
            panels
                .push(json!({ "id": panels.len() + 1, "type": "row", "title": panel.row, "gridPos": place }));
            (row, x, y) = (panel.row, 0, y + 1);
        }
        panels.push(diagram(panel, panels.len() + 1, x, y));
        x += WIDTH;
        if x == COLUMNS {
            (x, y) = (0, y + HEIGHT);
        }
    }
    panels
}

fn diagram(panel: &Panel, id: usize, x: usize, y: usize) -> Value {
    let targets: Vec<Value> =
        panel.queries.iter().zip('A'..).map(|(query, name)| target(*query, name)).collect();
    json!({
        "id": id,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source(),
        "gridPos": { "x": x, "y": y, "w": WIDTH, "h": HEIGHT },
        "fieldConfig": { "defaults": { "unit": panel.unit, "min": Value::Null }, "overrides": [] },
        "targets": targets,
    })
}

fn target((expression, legend): (&str, &str), name: char) -> Value {
    let expression = expression.replace("{@}", "{job=~\"$job\"}").replace("[@]", "[$__rate_interval]");
    json!({ "refId": name.to_string(), "expr": expression, "legendFormat": legend })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_panels_share_a_place() {
        let panels = panels();
        let mut places: Vec<String> = panels.iter().map(|panel| panel["gridPos"].to_string()).collect();
        let total = places.len();
        places.sort();
        places.dedup();
        assert_eq!(places.len(), total);
        assert!(total > PANELS.len());
    }

    #[test]
    fn a_query_has_the_selector_and_the_range_of_the_dashboard() {
        let target = target(("rate(x{@}[@])", "{{tag}}"), 'A');
        assert_eq!(target["expr"], "rate(x{job=~\"$job\"}[$__rate_interval])");
        for panel in &PANELS {
            for (expression, _) in panel.queries {
                assert!(expression.contains("{@}"), "{expression} has no selector");
            }
        }
    }
}
