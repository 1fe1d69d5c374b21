//! A dashboard as it is written, and as Grafana takes it.

use serde::Deserialize;
use serde_json::{Value, json};

/// How wide a row is, and how high a panel.
const WIDTH: u32 = 24;
const HEIGHT: u32 = 8;
const STAT_HEIGHT: u32 = 4;

/// Of Grafana 10; newer ones read it.
const SCHEMA: u32 = 38;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dashboard {
    title: String,
    uid: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    title: String,
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Panel {
    title: String,
    kind: Kind,
    width: u32,
    #[serde(default)]
    description: String,
    /// Why there may be nothing to show.
    #[serde(default)]
    optional: String,
    #[serde(default = "plain")]
    unit: String,
    /// The value from which on it is red.
    alarm: Option<f64>,
    queries: Vec<Query>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Stat,
    Timeseries,
    Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    expr: String,
    legend: String,
}

fn plain() -> String {
    "short".to_owned()
}

impl Dashboard {
    /// What Grafana imports. It asks the Prometheus that is selected on the page.
    pub(super) fn grafana(&self) -> Value {
        let mut layout = Layout::default();
        let mut panels = Vec::new();
        for row in &self.rows {
            panels.push(json!({
                "type": "row",
                "id": panels.len() + 1,
                "title": row.title,
                "collapsed": false,
                "gridPos": layout.place(WIDTH, 1),
                "panels": [],
            }));
            for panel in &row.panels {
                let place = layout.place(panel.width, panel.height());
                panels.push(panel.grafana(panels.len() + 1, &place));
            }
        }
        json!({
            "title": self.title,
            "uid": self.uid,
            "tags": ["enforcer"],
            "schemaVersion": SCHEMA,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "30s",
            "timezone": "browser",
            "time": { "from": "now-1h", "to": "now" },
            "templating": { "list": variables() },
            "annotations": { "list": [alerts()] },
            "panels": panels,
        })
    }
}

impl Panel {
    fn height(&self) -> u32 {
        if self.kind == Kind::Stat {
            STAT_HEIGHT
        } else {
            HEIGHT
        }
    }

    fn grafana(&self, id: usize, place: &Value) -> Value {
        let (kind, options) = match self.kind {
            Kind::Stat => (
                "stat",
                json!({
                    "colorMode": if self.alarm.is_some() { "background" } else { "value" },
                    "graphMode": "none",
                    "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                }),
            ),
            Kind::Timeseries => (
                "timeseries",
                json!({
                    "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                    "tooltip": { "mode": "multi", "sort": "desc" },
                }),
            ),
            Kind::Table => ("table", json!({ "showHeader": true })),
        };
        let mut steps = vec![json!({ "color": "green", "value": null })];
        if let Some(alarm) = self.alarm {
            steps.push(json!({ "color": "red", "value": alarm }));
        }
        let description = [self.description.as_str(), self.optional.as_str()].join(" ");
        json!({
            "type": kind,
            "id": id,
            "title": self.title,
            "description": description.trim(),
            "datasource": datasource(),
            "gridPos": place,
            "targets": self.targets(),
            "options": options,
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "min": 0,
                    "thresholds": { "mode": "absolute", "steps": steps },
                },
                "overrides": [],
            },
            "transformations": if self.kind == Kind::Table { labels_alone() } else { json!([]) },
        })
    }

    /// What a table or a single value shows is asked for the end of the time that is shown alone.
    fn targets(&self) -> Vec<Value> {
        let is_instant = self.kind != Kind::Timeseries;
        let target = |(query, name): (&Query, char)| {
            json!({
                "refId": name.to_string(),
                "datasource": datasource(),
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": is_instant,
                "range": !is_instant,
                "format": if self.kind == Kind::Table { "table" } else { "time_series" },
            })
        };
        self.queries.iter().zip('A'..='Z').map(target).collect()
    }
}

/// Puts one thing beside the other, and what does not fit below.
#[derive(Default)]
struct Layout {
    x: u32,
    y: u32,
    height: u32,
}

impl Layout {
    fn place(&mut self, width: u32, height: u32) -> Value {
        if self.x + width > WIDTH {
            self.x = 0;
            self.y += self.height;
            self.height = 0;
        }
        let place = json!({ "x": self.x, "y": self.y, "w": width, "h": height });
        self.x += width;
        self.height = self.height.max(height);
        place
    }
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// The time of a table's rows is that of the question.
fn labels_alone() -> Value {
    let hidden = json!({ "Time": true });
    json!([{ "id": "organize", "options": { "excludeByName": hidden, "renameByName": { "Value": "number" } } }])
}

/// What is selected above the panels.
fn variables() -> Value {
    let of_label = |name: &str, query: &str| {
        json!({
            "name": name,
            "label": name,
            "type": "query",
            "datasource": datasource(),
            "query": { "query": query, "refId": name },
            "refresh": 2,
            "sort": 1,
            "multi": true,
            "includeAll": true,
            // Also of what has no such label.
            "allValue": ".*",
            "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        })
    };
    json!([
        { "name": "datasource", "label": "data source", "type": "datasource", "query": "prometheus", "current": {} },
        of_label("node", "label_values(enforcer_build_info, node)"),
        of_label("namespace", "label_values(enforcer_verdicts_total, namespace)"),
    ])
}

/// Marks when one of the alerts fired.
fn alerts() -> Value {
    json!({
        "name": "Alerts",
        "enable": true,
        "iconColor": "red",
        "datasource": datasource(),
        "expr": "ALERTS{alertname=~\"Enforcer.*\",alertstate=\"firing\"}",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{node}} {{instance}}",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_beside_is_below_the_highest() {
        let mut layout = Layout::default();
        let places = [(24, 1), (16, 4), (8, 8), (8, 4)].map(|(width, height)| {
            let place = layout.place(width, height);
            (place["x"].clone(), place["y"].clone())
        });
        let expected = [(0, 0), (0, 1), (16, 1), (0, 9)].map(|(x, y)| (json!(x), json!(y)));
        assert_eq!(places, expected);
    }
}
