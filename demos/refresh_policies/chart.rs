//! Two panels: what refreshing ahead costs where reads are many, and how many reads wait where they
//! are few.

use crate::{
    Result,
    candidates::{BEST, DEFAULT, XFETCH},
    policy::{Mark, Policy},
    scenario::{RATES, USUAL},
    simulation::{self, Outcome},
};
use plotters::{
    coord::{
        Shift,
        ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
    },
    prelude::*,
};
use std::ops::Range;

const SIZE: (u32, u32) = (1_240, 520);
const LEGEND_HEIGHT: u32 = 84;
const LOADS: usize = 20_000;
/// Reads a second of the left panel.
const RATE: f64 = 1_000.0;
/// Seconds that a load takes in the right panel.
const LOAD: f64 = 1.0;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

struct Line {
    name: &'static str,
    policy: Policy,
    style: ShapeStyle,
}

/// Colours that the colour-blind can tell apart (Okabe and Ito).
fn lines() -> [Line; 6] {
    let line = |name, policy, (r, g, b): (u8, u8, u8), width: u32| Line {
        name,
        policy,
        style: RGBColor(r, g, b).stroke_width(width),
    };
    [
        line("load at expiry", Policy::AtExpiry, (150, 150, 150), 2),
        line("XFetch β 1", XFETCH, (0, 90, 170), 2),
        line("share 90 %", Policy::Mark(Mark::share(0.9)), (230, 159, 0), 2),
        line("lead 1.5 δ", Policy::Mark(Mark::lead(1.5)), (0, 158, 115), 2),
        line("lead 1.5 δ + 2 w, peak 1/8, not before 50 %", BEST, (86, 180, 233), 2),
        line("the default: lead 3 δ, from 50 % to 93 %", DEFAULT, (213, 94, 0), 3),
    ]
}

/// The picture, as SVG.
pub(crate) fn draw() -> Result<String> {
    let mut svg = String::new();
    {
        let picture = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        picture.fill(&WHITE)?;
        let (legend, panels) = picture.split_vertically(LEGEND_HEIGHT);
        draw_legend(&legend)?;
        let (left, right) = panels.split_horizontally(SIZE.0 / 2);
        let caption = "Loads per TTL; TTL 60 s, 1,000 reads a second";
        draw_panel(&left, (caption, "load time, s", "loads per TTL"), (0.0..20.0, 0.0..4.2), &load_times(), |at| {
            at.1.loads
        })?;
        let caption = "Reads that wait, %; TTL 60 s, loads of 1 s";
        let x_axis = (0.1..10_000.0).log_scale();
        draw_panel(&right, (caption, "reads a second", "reads that wait, %"), (x_axis, 0.0..16.0), &rates(), |at| {
            at.1.waits
        })?;
        picture.present()?;
    }
    Ok(svg)
}

/// For each line, its outcome at each load time.
fn load_times() -> Vec<Vec<(f64, Outcome)>> {
    let times: Vec<_> = (0..=20).map(|step| if step == 0 { 0.1 } else { f64::from(step) }).collect();
    let loads: Vec<_> = times.iter().map(|&mean| USUAL.loads(mean, LOADS)).collect();
    let outcomes = |line: Line| {
        times.iter().zip(&loads).map(|(&time, loads)| (time, simulation::run(&line.policy, RATE, loads))).collect()
    };
    lines().map(outcomes).into()
}

/// For each line, its outcome at each read rate.
fn rates() -> Vec<Vec<(f64, Outcome)>> {
    let loads = USUAL.loads(LOAD, LOADS);
    let outcomes = |line: Line| RATES.iter().map(|&rate| (rate, simulation::run(&line.policy, rate, &loads))).collect();
    lines().map(outcomes).into()
}

fn draw_legend(area: &Area<'_>) -> Result {
    for (index, line) in lines().iter().enumerate() {
        let (x, y) = (70 + 390 * (index as i32 / 2), 26 + 30 * (index as i32 % 2));
        area.draw(&PathElement::new([(x, y), (x + 30, y)], line.style))?;
        area.draw(&Text::new(line.name, (x + 38, y - 8), ("sans-serif", 17)))?;
    }
    Ok(())
}

fn draw_panel<X>(
    area: &Area<'_>,
    (caption, x_name, y_name): (&str, &str, &str),
    (x_axis, y_axis): (X, Range<f64>),
    outcomes: &[Vec<(f64, Outcome)>],
    y: impl Fn(&(f64, Outcome)) -> f64,
) -> Result
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 18))
        .margin(10)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d::<X, Range<f64>>(x_axis, y_axis)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_desc(x_name)
        .y_desc(y_name)
        .x_label_formatter(&|x| x.to_string())
        .axis_desc_style(("sans-serif", 15))
        .label_style(("sans-serif", 14))
        .draw()?;
    for (line, outcomes) in lines().iter().zip(outcomes) {
        let points: Vec<_> = outcomes.iter().map(|at| (at.0, y(at))).collect();
        chart.draw_series(LineSeries::new(points.iter().copied(), line.style))?;
        chart.draw_series(points.into_iter().map(|point| Circle::new(point, 2, line.style.color.filled())))?;
    }
    Ok(())
}
