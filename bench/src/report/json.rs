//! The results for programs: every value of every round.

use serde_json::{Map, Value, json};

use super::Report;
use crate::{
    budget::{BUDGETS, Limit, Standing},
    configuration::Configuration,
    metric::Metric,
    samples::Spread,
};

/// Grows when a reader of the older form would misread the newer.
const SCHEMA: u32 = 1;

pub(super) fn of(report: &Report) -> Value {
    let machine = &report.machine;
    let packages: Map<String, Value> = machine
        .packages
        .iter()
        .map(|(name, version)| (name.clone(), json!(version)))
        .collect();
    json!({
        "schema": SCHEMA,
        "smoke": report.smoke,
        "unix_time": report.unix_time,
        "machine": {
            "cpu": machine.cpu,
            "cpus": machine.cpus,
            "kernel": machine.kernel,
            "rustc": machine.rustc,
            "packages": packages,
            "load_before": report.load.0,
            "load_after": report.load.1,
        },
        "building_s": report.building.as_secs_f64(),
        "measuring_s": report.measuring.as_secs_f64(),
        "generator_busy": report.generator_busy.map(spread),
        "plan": report.plan,
        "configurations": report.configurations.iter().map(|c| json!({
            "name": c.name(),
            "description": c.description(),
        })).collect::<Vec<_>>(),
        "metrics": Metric::ALL
            .into_iter()
            .filter(|metric| report.samples.has(*metric))
            .map(|metric| one(report, metric))
            .collect::<Vec<_>>(),
        "budgets": BUDGETS.iter().map(|budget| {
            let (standing, measured) = match budget.stands(&report.samples) {
                Standing::Met(measured) => ("met", Some(measured)),
                Standing::Missed(measured) => ("missed", Some(measured)),
                Standing::NotMeasured => ("not measured", None),
            };
            let (kind, limit) = match budget.limit {
                Limit::More(limit) => ("more_than_bare", limit),
                Limit::Share(limit) => ("share_of_bare", limit),
                Limit::Most(limit) => ("at_most", limit),
            };
            json!({
                "what": budget.what,
                "metric": budget.metric.describe().id,
                "configuration": budget.configuration.name(),
                "kind": kind,
                "limit": limit,
                "measured": measured.map(spread),
                "standing": standing,
            })
        }).collect::<Vec<_>>(),
        "failures": report.failures,
    })
}

fn one(report: &Report, metric: Metric) -> Value {
    let described = metric.describe();
    let cells: Map<String, Value> = report
        .configurations
        .iter()
        .filter_map(|&configuration| {
            let cell = report.samples.cell(metric, configuration)?;
            let bare = (metric.unwatched(), Configuration::Bare);
            let pairs = |compare| report.samples.pairs(metric, configuration, bare, compare);
            let value = json!({
                "spread": cell.spread().map(spread),
                "values": cell.values().collect::<Vec<_>>(),
                "minus_bare": pairs(|a, b| a - b).map(spread),
                "over_bare": pairs(|a, b| a / b).map(spread),
                "note": cell.note,
            });
            Some((configuration.name().to_owned(), value))
        })
        .collect();
    json!({
        "id": described.id,
        "title": described.title,
        "unit": described.unit,
        "section": format!("{:?}", described.section).to_lowercase(),
        "cells": cells,
    })
}

fn spread(spread: Spread) -> Value {
    json!({
        "median": spread.median,
        "min": spread.min,
        "lower_quartile": spread.lower,
        "upper_quartile": spread.upper,
        "max": spread.max,
    })
}
