//! The ratios as bars: a panel for each workload, on a logarithmic scale.

use crate::{
    Result,
    report::{Outcome, digits},
};
use plotters::{coord::Shift, prelude::*};
use std::path::Path;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: i32 = 960;
/// Where bars begin: left of it are the names.
const LEFT: i32 = 280;
/// Room for the figures right of the longest bar.
const RIGHT: i32 = 150;
const HEAD: i32 = 40;
const ROW: i32 = 22;
const INK: RGBColor = RGBColor(60, 60, 60);
/// Slower than bellwether, and faster: colours that the colour-blind can tell apart (Okabe and Ito).
const SLOWER: RGBColor = RGBColor(86, 180, 233);
const FASTER: RGBColor = RGBColor(213, 94, 0);

/// Draws all workloads into one SVG file.
pub(crate) fn draw(outcomes: &[Outcome], path: &Path) -> Result {
    let heights: Vec<_> = outcomes.iter().map(|it| HEAD + ROW * it.tracks.len() as i32).collect();
    let size = (WIDTH as u32, (HEAD + heights.iter().sum::<i32>()) as u32);
    let mut rest = SVGBackend::new(path, size).into_drawing_area();
    rest.fill(&WHITE)?;
    for (outcome, height) in outcomes.iter().zip(heights) {
        let (panel, below) = rest.split_vertically(height);
        draw_panel(&panel, outcome)?;
        rest = below;
    }
    let legend = "A time (or memory) over bellwether's in the same round: bar and figure are the median, the line is the range. \
                  Blue: more than bellwether's; orange: less.";
    rest.draw(&Text::new(legend, (24, 8), ("sans-serif", 13).into_font().color(&INK)))?;
    rest.present()?;
    Ok(())
}

fn draw_panel(area: &Area<'_>, outcome: &Outcome) -> Result {
    area.draw(&Text::new(outcome.workload.title, (24, 14), ("sans-serif", 17)))?;
    let ratios = outcome.tracks.iter().filter_map(|track| Some((track.name, outcome.ratio(track)?)));
    let ratios: Vec<_> = ratios.collect();
    let least = ratios.iter().map(|(_, ratio)| ratio.least).fold(1.0, f64::min);
    let most = ratios.iter().map(|(_, ratio)| ratio.most).fold(2.0, f64::max);
    let scale = f64::from(WIDTH - LEFT - RIGHT) / (most / least).ln();
    let x = |ratio: f64| LEFT + ((ratio / least).ln() * scale) as i32;
    let font = || ("sans-serif", 13).into_font().color(&INK);
    for (row, (name, ratio)) in ratios.iter().enumerate() {
        let top = HEAD + ROW * row as i32;
        let colour = if ratio.median < 1.0 { FASTER } else { SLOWER };
        let name = name.replace('`', "");
        area.draw(&Text::new(name, (40, top + 3), font()))?;
        area.draw(&Rectangle::new([(x(1.0), top + 2), (x(ratio.median), top + ROW - 4)], colour.filled()))?;
        let middle = top + ROW / 2 - 1;
        area.draw(&PathElement::new([(x(ratio.least), middle), (x(ratio.most), middle)], INK))?;
        area.draw(&Text::new(digits(ratio.median), (x(ratio.most).max(x(1.0)) + 8, top + 3), font()))?;
    }
    let bottom = HEAD + ROW * ratios.len() as i32;
    area.draw(&PathElement::new([(x(1.0), HEAD - 4), (x(1.0), bottom)], INK))?;
    Ok(())
}
