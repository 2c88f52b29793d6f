//! The two graphs of the case study, concurrency and latency over time, with a row for each way of caching.

use crate::{
    Result,
    landing::{RUN, Run, WORKERS},
};
use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
};
use std::{collections::HashMap, path::Path, time::Duration};

const WIDTH: u32 = 1_300;
const TITLE_HEIGHT: u32 = 60;
const ROW_HEIGHT: u32 = 180;
const CONCURRENCY: RGBColor = RGBColor(200, 80, 40);
const LATENCY: RGBColor = RGBColor(35, 95, 160);

/// Seconds and milliseconds.
type Point = (f64, f64);
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws all runs into one SVG file.
pub(crate) fn draw(runs: &[Run], path: &Path) -> Result {
    let height = TITLE_HEIGHT + ROW_HEIGHT * runs.len() as u32;
    let picture = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    picture.fill(&WHITE)?;
    let (title, rows) = picture.split_vertically(TITLE_HEIGHT);
    title
        .margin(18, 0, 0, 0)
        .titled(&format!("One landing page, {WORKERS} workers, {} ways of caching", runs.len()), ("sans-serif", 28))?;
    // The same scale in all rows, so that they can be compared.
    let slowest = runs.iter().flat_map(|run| &run.requests).map(|request| request.span.length());
    let max_latency = 1.1 * millis(slowest.max().unwrap_or(RUN));
    for (row, run) in rows.split_evenly((runs.len(), 1)).iter().zip(runs) {
        let (left, right) = row.split_horizontally(WIDTH / 2);
        draw_concurrency(&left, run)?;
        draw_latency(&right, run, max_latency)?;
    }
    picture.present()?;
    Ok(())
}

fn draw_concurrency(area: &Area<'_>, run: &Run) -> Result {
    let caption = format!("{}: workers that generate the page", run.name);
    let mut chart = axes(area, &caption, "workers", 1.1 * WORKERS as f64)?;
    let mut steps = vec![(0.0, 0.0)];
    let mut level = 0.0;
    for (at, workers) in run.concurrency() {
        let at = at.as_secs_f64();
        steps.push((at, level));
        level = workers as f64;
        steps.push((at, level));
    }
    chart.draw_series(AreaSeries::new(steps, 0.0, CONCURRENCY.mix(0.35)).border_style(CONCURRENCY))?;
    Ok(())
}

fn draw_latency(area: &Area<'_>, run: &Run, max_latency: f64) -> Result {
    let caption = format!("{}: time of a request (larger dot: more)", run.name);
    let mut chart = axes(area, &caption, "milliseconds", max_latency)?;
    // Thousands of hits would be drawn over each other: one dot for all that share a pixel, larger for more of them.
    let mut dots: HashMap<_, (Point, f64)> = HashMap::new();
    for request in &run.requests {
        let point = (request.span.start.as_secs_f64(), millis(request.span.length()));
        let (_, count) = dots.entry(chart.backend_coord(&point)).or_insert((point, 0.0));
        *count += 1.0;
    }
    let dot = |(point, count): (Point, f64)| Circle::new(point, 1.0 + count.sqrt(), LATENCY.filled());
    chart.draw_series(dots.into_values().map(dot))?;
    Ok(())
}

/// Empty axes: the time of the run, and zero to `y_max`.
fn axes<'a, 'b>(area: &'a Area<'b>, caption: &str, y_name: &str, y_max: f64) -> Result<Chart<'a, 'b>> {
    // The last requests begin within the run and end after it.
    let x_max = RUN.as_secs_f64() + 0.3;
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 17))
        .margin(8)
        .margin_right(20)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..x_max, 0.0..y_max)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("seconds since the start")
        .y_desc(y_name)
        .x_labels(11)
        .y_labels(6)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .axis_desc_style(("sans-serif", 14))
        .label_style(("sans-serif", 13))
        .draw()?;
    Ok(chart)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
