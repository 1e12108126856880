//! A picture as PNG, without any font of the machine.

use anyhow::Context as _;
use tiny_skia::{
    FillRule, FilterQuality, IntSize, LineJoin, Paint, Path, PathBuilder, Pixmap, PixmapPaint, Rect, StrokeDash,
    Transform,
};

use super::font::{self, Pen};
use super::scene::{Fill, Scene, Shape, Stroke};

/// Pixels in a point: two for each pixel of CSS, of which an inch has 96.
const SCALE: f32 = 2.0 * 96.0 / 72.0;

impl Scene {
    /// The picture as a PNG file.
    ///
    /// # Errors
    ///
    /// If it is empty or too large, or an image in it cannot be read.
    pub fn to_png(&self) -> anyhow::Result<Vec<u8>> {
        let pixels = |length: f64| (length as f32 * SCALE).ceil() as u32;
        let size = (pixels(self.width), pixels(self.height));
        let mut page = Pixmap::new(size.0, size.1).with_context(|| format!("no picture has the size {size:?}"))?;
        page.fill(tiny_skia::Color::WHITE);
        for shape in &self.shapes {
            draw(shape, &mut page)?;
        }
        page.encode_png().context("cannot write the picture as PNG")
    }
}

fn draw(shape: &Shape, page: &mut Pixmap) -> anyhow::Result<()> {
    let scale = Transform::from_scale(SCALE, SCALE);
    match shape {
        Shape::Path { points, closed, fill, stroke } => {
            let mut builder = PathBuilder::new();
            for (place, [x, y]) in points.iter().enumerate() {
                match place {
                    0 => builder.move_to(*x as f32, *y as f32),
                    _ => builder.line_to(*x as f32, *y as f32),
                }
            }
            if *closed {
                builder.close();
            }
            paint(builder.finish(), fill.as_ref(), stroke.as_ref(), scale, page);
        }
        Shape::Circle { centre: [x, y], radius, fill, stroke } => {
            let path = PathBuilder::from_circle(*x as f32, *y as f32, *radius as f32);
            paint(path, fill.as_ref(), stroke.as_ref(), scale, page);
        }
        Shape::Text(words) => {
            let mut outline = Outline(PathBuilder::new());
            font::outline(&words.text, words.size, words.weight, &mut outline);
            let [x, y] = words.at.map(|length| length as f32);
            let placed = scale
                .pre_translate(x, y)
                .pre_concat(Transform::from_rotate(words.turn as f32))
                .pre_translate(-words.before() as f32, 0.0);
            paint(outline.0.finish(), Fill::of(words.colour).as_ref(), None, placed, page);
        }
        Shape::Image { place, bytes, .. } => {
            let image = image::load_from_memory(bytes).context("cannot read an image of the picture")?.to_rgba8();
            let (width, height) = image.dimensions();
            let mut data = image.into_raw();
            for pixel in data.chunks_exact_mut(4) {
                let opacity = u16::from(pixel[3]);
                pixel[..3].iter_mut().for_each(|value| *value = (u16::from(*value) * opacity / 255) as u8);
            }
            let size = IntSize::from_wh(width, height).context("an image of the picture is empty")?;
            let image = Pixmap::from_vec(data, size).context("an image of the picture is too large")?;
            let [x, y, shown_width, shown_height] = place.map(|length| length as f32);
            let (across, down) = (shown_width / width as f32, shown_height / height as f32);
            // Small images are shown pixel by pixel; large ones are made smaller smoothly.
            let quality = if across * SCALE > 1.0 { FilterQuality::Nearest } else { FilterQuality::Bicubic };
            let paint = PixmapPaint { quality, ..PixmapPaint::default() };
            let placed = scale.pre_translate(x, y).pre_scale(across, down);
            page.draw_pixmap(0, 0, image.as_ref(), &paint, placed, None);
        }
    }
    Ok(())
}

fn paint(path: Option<Path>, fill: Option<&Fill>, stroke: Option<&Stroke>, placed: Transform, page: &mut Pixmap) {
    // Nothing to see has no path.
    let Some(path) = path else { return };
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    if let Some(Fill { colour, opacity }) = fill {
        paint.set_color_rgba8(colour.0, colour.1, colour.2, (opacity * 255.0).round() as u8);
        match axis_aligned(&path, placed) {
            Some(rectangle) => page.fill_rect(rectangle, &paint, placed, None),
            None => page.fill_path(&path, &paint, FillRule::Winding, placed, None),
        }
    }
    if let Some(Stroke { colour, width, dash }) = stroke {
        paint.set_color_rgba8(colour.0, colour.1, colour.2, 255);
        let dash = (!dash.is_empty()).then(|| dash.iter().map(|length| *length as f32).collect());
        let stroke = tiny_skia::Stroke {
            width: *width as f32,
            line_join: LineJoin::Round,
            dash: dash.and_then(|dash| StrokeDash::new(dash, 0.0)),
            ..tiny_skia::Stroke::default()
        };
        page.stroke_path(&path, &paint, &stroke, placed, None);
    }
}

/// The path as a rectangle, where it is one and not turned: those have sharp edges.
fn axis_aligned(path: &Path, placed: Transform) -> Option<Rect> {
    let points = path.points();
    let bounds = path.bounds();
    let corner = |point: &tiny_skia::Point| {
        (point.x == bounds.left() || point.x == bounds.right())
            && (point.y == bounds.top() || point.y == bounds.bottom())
    };
    (points.len() == 4 && placed.is_scale_translate() && points.iter().all(corner)).then_some(bounds)
}

struct Outline(PathBuilder);

impl Pen for Outline {
    fn move_to(&mut self, x: f64, y: f64) {
        self.0.move_to(x as f32, y as f32);
    }

    fn line_to(&mut self, x: f64, y: f64) {
        self.0.line_to(x as f32, y as f32);
    }

    fn quad_to(&mut self, control: [f64; 2], x: f64, y: f64) {
        self.0.quad_to(control[0] as f32, control[1] as f32, x as f32, y as f32);
    }

    fn cubic_to(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], x: f64, y: f64) {
        self.0.cubic_to(x1 as f32, y1 as f32, x2 as f32, y2 as f32, x as f32, y as f32);
    }

    fn close(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figure::scene::Words;

    /// Dark pixels of a page with these words only.
    fn ink(text: &str) -> usize {
        let mut scene = Scene::new(60.0, 20.0, "");
        scene.text(Words::new(text, [2.0, 15.0], 10.0));
        let page = image::load_from_memory(&scene.to_png().unwrap()).unwrap().to_luma8();
        assert_eq!(page.dimensions(), (160, 54));
        page.pixels().filter(|pixel| pixel.0[0] < 128).count()
    }

    #[test]
    fn words_of_every_script_leave_ink_of_their_own() {
        assert_eq!(ink(" "), 0);
        assert!(ink("Adapt-∞") > 300);
        // A box for a missing letter would be the same for both.
        assert_ne!(ink("红"), ink("一"));
        assert!(ink("红") > 100);
    }
}
