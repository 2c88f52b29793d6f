//! How soon how many tasks go on with the value, as a curve for each way of sharing; a panel for each runtime.

use crate::{
    Case, Result,
    herd::Way,
    report::{millis, thousands},
};
use plotters::{coord::Shift, prelude::*};
use std::{path::Path, time::Duration};

const SIZE: (u32, u32) = (1_300, 480);
const TITLE_HEIGHT: u32 = 60;
/// Points of a curve: as many as the panel can show.
const POINTS: usize = 500;

/// Draws all cases into one SVG file.
pub(crate) fn draw(cases: &[Case<'_>], tasks: u32, path: &Path) -> Result {
    let picture = SVGBackend::new(path, SIZE).into_drawing_area();
    picture.fill(&WHITE)?;
    let (title, panels) = picture.split_vertically(TITLE_HEIGHT);
    let title_text = format!("{} tasks wait for one key: when do they go on?", thousands(tasks as usize));
    title.margin(18, 0, 0, 0).titled(&title_text, ("sans-serif", 28))?;
    // The same scale in all panels, so that they can be compared.
    let last = cases.iter().filter_map(|case| case.typical().delays.last()).max();
    let x_max = 1.05 * millis(last.copied().unwrap_or_default());
    // The cases of one runtime lie side by side.
    let runtimes: Vec<_> = cases.chunks(Way::ALL.len()).collect();
    for (panel, cases) in panels.split_evenly((1, runtimes.len())).iter().zip(runtimes) {
        draw_panel(panel, cases, x_max)?;
    }
    picture.present()?;
    Ok(())
}

fn draw_panel(area: &DrawingArea<SVGBackend<'_>, Shift>, cases: &[Case<'_>], x_max: f64) -> Result {
    let runtime = cases.first().map(Case::runtime_name).unwrap_or_default();
    let mut chart = ChartBuilder::on(area)
        .caption(format!("tokio, {runtime}"), ("sans-serif", 19))
        .margin(8)
        .margin_right(24)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..x_max, 0.0..100.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("milliseconds since the value was there")
        .y_desc("% of the tasks have gone on")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .axis_desc_style(("sans-serif", 15))
        .label_style(("sans-serif", 14))
        .draw()?;
    for case in cases {
        let style = colour(case.way).stroke_width(2);
        chart
            .draw_series(LineSeries::new(curve(&case.typical().delays), style))?
            .label(case.way.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .margin(16)
        .background_style(WHITE)
        .label_font(("sans-serif", 16))
        .draw()?;
    Ok(())
}

fn colour(way: Way) -> RGBColor {
    match way {
        Way::Bellwether => RGBColor(200, 80, 40),
        Way::OnceCell => RGBColor(35, 95, 160),
    }
}

/// Milliseconds, and the percentage of the sorted delays that are no longer.
fn curve(delays: &[Duration]) -> Vec<(f64, f64)> {
    let point = |at: usize| {
        let rank = (at * (delays.len() - 1)).div_ceil(POINTS);
        (millis(delays[rank]), 100.0 * (rank + 1) as f64 / delays.len() as f64)
    };
    (0..=POINTS).map(point).collect()
}
