//! Hit ratio over capacity: a panel for each trace, a line for each policy.

use crate::{
    Result,
    race::{BELLWETHER, OPTIMUM, Race},
    report::{grouped, share},
};
use plotters::{coord::Shift, element::DashedPathElement, prelude::*};
use std::{ops::Range, path::Path};

const PANEL: (u32, u32) = (680, 400);
const TITLE_HEIGHT: u32 = 92;
const LEGEND_STEP: i32 = 106;
/// Labels of the capacity axis are at least this factor apart, so that they do not touch.
const LABEL_FACTOR: f64 = 1.35;

/// Percent of the unique keys, and percent of the requests.
type Point = (f64, f64);
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

struct Line {
    name: &'static str,
    points: Vec<Point>,
}

/// Draws all traces into one SVG file.
pub(crate) fn draw(races: &[Race], path: &Path) -> Result {
    let columns = if races.len() == 1 { 1 } else { 2 };
    let rows = races.len().div_ceil(columns);
    let size = (PANEL.0 * columns as u32, TITLE_HEIGHT + PANEL.1 * rows as u32);
    let picture = SVGBackend::new(path, size).into_drawing_area();
    picture.fill(&WHITE)?;
    let (title, panels) = picture.split_vertically(TITLE_HEIGHT);
    let Some(first) = races.first() else { return Ok(()) };
    draw_title(&title, &lines(first))?;
    for (panel, race) in panels.split_evenly((rows, columns)).iter().zip(races) {
        draw_panel(panel, race)?;
    }
    picture.present()?;
    Ok(())
}

/// The optimum first and bellwether last, so that it is drawn over the others.
fn lines(race: &Race) -> Vec<Line> {
    let line = |name, hits: &dyn Fn(usize) -> u64| {
        let ratio = |(index, requests): (usize, u64)| 100.0 * hits(index) as f64 / requests as f64;
        let points =
            race.heats.iter().enumerate().map(|(index, heat)| (heat.size.percent, ratio((index, race.requests))));
        let mut points: Vec<_> = points.collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line { name, points }
    };
    let mut lines = vec![line(OPTIMUM, &|index| race.heats[index].optimum)];
    let others = race.heats.first().map_or(&[][..], |heat| &heat.others);
    for (other, (name, _)) in others.iter().enumerate() {
        lines.push(line(name, &|index| race.heats[index].others[other].1));
    }
    lines.push(line(BELLWETHER, &|index| race.heats[index].bellwether.hits));
    lines
}

/// Colours that the colour-blind can tell apart (Okabe and Ito).
fn style(name: &str) -> ShapeStyle {
    let (color, width) = match name {
        BELLWETHER => (RGBColor(213, 94, 0), 3),
        OPTIMUM => (RGBColor(60, 60, 60), 2),
        "FIFO" => (RGBColor(150, 150, 150), 2),
        "LRU" => (RGBColor(86, 180, 233), 2),
        "SIEVE" => (RGBColor(0, 158, 115), 2),
        _ => (RGBColor(0, 90, 170), 2),
    };
    color.stroke_width(width)
}

fn draw_title(area: &Area<'_>, lines: &[Line]) -> Result {
    area.draw(&Text::new("Hit ratio over the size of the cache", (24, 18), ("sans-serif", 26)))?;
    for (index, line) in lines.iter().rev().enumerate() {
        let (x, y) = (24 + LEGEND_STEP * index as i32, 68);
        let stroke = [(x, y), (x + 26, y)];
        match line.name {
            OPTIMUM => area.draw(&DashedPathElement::new(stroke, 5, 4, style(line.name)))?,
            _ => area.draw(&PathElement::new(stroke, style(line.name)))?,
        }
        area.draw(&Text::new(line.name, (x + 32, y - 7), ("sans-serif", 15)))?;
    }
    Ok(())
}

fn draw_panel(area: &Area<'_>, race: &Race) -> Result {
    let lines = lines(race);
    let points = || lines.iter().flat_map(|line| &line.points);
    let sizes: Vec<_> = lines[0].points.iter().map(|point| point.0).collect();
    let caption =
        format!("{}: {} requests, {} unique keys", race.trace, grouped(race.requests), grouped(race.unique.into()));
    let x_axis = widened(&sizes).log_scale().with_key_points(labels(&sizes));
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 17))
        .margin(10)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(x_axis, tens(points().map(|point| point.1)))?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_desc("size of the cache, share of the unique keys")
        .y_desc("hit ratio, %")
        .y_labels(8)
        .x_label_formatter(&|percent| share(*percent))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .axis_desc_style(("sans-serif", 14))
        .label_style(("sans-serif", 13))
        .draw()?;
    for line in &lines {
        let style = style(line.name);
        if line.name == OPTIMUM {
            chart.draw_series(DashedLineSeries::new(line.points.iter().copied(), 5, 4, style))?;
        } else {
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        }
        let radius = 2 + style.stroke_width / 2;
        chart.draw_series(line.points.iter().map(|&point| Circle::new(point, radius, style.color.filled())))?;
    }
    Ok(())
}

/// From the smallest to the largest size, with a margin.
fn widened(sizes: &[f64]) -> Range<f64> {
    let least = sizes.iter().copied().fold(f64::INFINITY, f64::min);
    let most = sizes.iter().copied().fold(0.0, f64::max);
    // One size has no range of its own; 8 % of the range on either side otherwise.
    let margin = if least < most { (most / least).powf(0.08) } else { 2.0 };
    least / margin..most * margin
}

/// The sizes to label, from ascending ones: as many as there is room for.
fn labels(sizes: &[f64]) -> Vec<f64> {
    let mut labels: Vec<f64> = Vec::new();
    let mut below = 0.0;
    // A wide range has less room for each factor.
    let factor = match (sizes.first(), sizes.last()) {
        (Some(first), Some(last)) => (last / first).powf(0.08).max(LABEL_FACTOR.min(last / first)),
        _ => return labels,
    };
    for &size in sizes {
        if labels.is_empty() || size >= below * factor {
            labels.push(size);
            below = size;
        }
    }
    labels
}

/// The range of these percentages, out to full tens.
fn tens(ratios: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, most) = ratios.fold((100.0_f64, 0.0_f64), |(least, most), ratio| (least.min(ratio), most.max(ratio)));
    let start = (least / 10.0).floor() * 10.0;
    let end = (most / 10.0).ceil() * 10.0;
    start.min(90.0)..end.max(start.min(90.0) + 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_room() {
        assert_eq!(tens([13.0, 72.0].into_iter()), 10.0..80.0);
        assert_eq!(tens([0.0, 0.0].into_iter()), 0.0..10.0);
        assert_eq!(tens([100.0, 100.0].into_iter()), 90.0..100.0);
        assert_eq!(widened(&[5.0]), 2.5..10.0);
        let range = widened(&[1.0, 10.0]);
        assert!(range.start < 1.0 && range.end > 10.0);
    }

    #[test]
    fn labels_do_not_touch() {
        assert_eq!(labels(&[0.1, 1.0, 5.0, 10.0, 25.0]), [0.1, 1.0, 5.0, 10.0, 25.0]);
        assert_eq!(labels(&[1.0, 1.01, 1.02, 10.0, 10.1, 20.0]), [1.0, 10.0, 20.0]);
        assert_eq!(labels(&[3.0, 3.0]), [3.0, 3.0]);
        assert_eq!(labels(&[]), []);
    }
}
