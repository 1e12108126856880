//! Colours, markers and dashes that can be told apart in print, and by people who do not see all
//! colours.

/// Red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour(pub u8, pub u8, pub u8);

impl Colour {
    /// Of letters and axes.
    pub const INK: Colour = Colour(0x22, 0x22, 0x22);
    /// Of what matters less.
    pub const GREY: Colour = Colour(0x6b, 0x6b, 0x6b);
    /// Of grids.
    pub const FAINT: Colour = Colour(0xe2, 0xe2, 0xe2);
    /// Of the page.
    pub const PAPER: Colour = Colour(0xff, 0xff, 0xff);

    /// `#0072b2`.
    pub fn hex(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }

    /// Whether light letters are easier to read on it than dark ones.
    pub fn is_dark(self) -> bool {
        let channel = |value: u8| (f64::from(value) / 255.0).powf(2.2);
        0.2126 * channel(self.0) + 0.7152 * channel(self.1) + 0.0722 * channel(self.2) < 0.22
    }

    /// Letters on it.
    pub fn letters(self) -> Colour {
        if self.is_dark() { Colour::PAPER } else { Colour::INK }
    }

    fn between(self, other: Colour, share: f64) -> Colour {
        let mix = |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * share).round() as u8;
        Colour(mix(self.0, other.0), mix(self.1, other.1), mix(self.2, other.2))
    }
}

/// The colours of Okabe and Ito (2008), darkest first; their yellow cannot be seen on paper as a line
/// and comes last.
const CATEGORIES: [Colour; 8] = [
    Colour(0x00, 0x72, 0xb2),
    Colour(0xd5, 0x5e, 0x00),
    Colour(0x00, 0x9e, 0x73),
    Colour(0xcc, 0x79, 0xa7),
    Colour(0x56, 0xb4, 0xe9),
    Colour(0xe6, 0x9f, 0x00),
    Colour(0x22, 0x22, 0x22),
    Colour(0xb3, 0xa6, 0x00),
];

/// What a category looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct Style {
    /// Its colour.
    pub colour: Colour,
    /// Its marker.
    pub marker: Marker,
    /// Its dashes and gaps, as [`Stroke::dash`](super::scene::Stroke::dash).
    pub dash: Vec<f64>,
}

/// The form of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// ●
    Circle,
    /// ■
    Square,
    /// ▲
    Triangle,
    /// ◆
    Diamond,
    /// ▼
    Down,
    /// ✚
    Plus,
    /// ✖
    Cross,
}

/// The look of the category with this number. The colours come round after eight, the markers after
/// seven, so that the first 56 differ.
pub fn style(number: usize) -> Style {
    const MARKERS: [Marker; 7] =
        [Marker::Circle, Marker::Square, Marker::Triangle, Marker::Diamond, Marker::Down, Marker::Plus, Marker::Cross];
    const DASHES: [&[f64]; 4] = [&[], &[5.0, 2.0], &[1.5, 1.5], &[6.0, 1.5, 1.5, 1.5]];
    Style {
        colour: CATEGORIES[number % CATEGORIES.len()],
        marker: MARKERS[number % MARKERS.len()],
        dash: DASHES[number % DASHES.len()].to_vec(),
    }
}

impl Marker {
    /// Its corners around a middle; none for a circle.
    pub fn corners(self, [x, y]: [f64; 2], radius: f64) -> Vec<[f64; 2]> {
        let scaled = |corners: &[[f64; 2]]| {
            corners.iter().map(|[right, down]| [x + right * radius, y + down * radius]).collect::<Vec<_>>()
        };
        // Arms of a plus sign, a third as thick as it is wide.
        const PLUS: [[f64; 2]; 12] = [
            [-0.35, -1.1],
            [0.35, -1.1],
            [0.35, -0.35],
            [1.1, -0.35],
            [1.1, 0.35],
            [0.35, 0.35],
            [0.35, 1.1],
            [-0.35, 1.1],
            [-0.35, 0.35],
            [-1.1, 0.35],
            [-1.1, -0.35],
            [-0.35, -0.35],
        ];
        match self {
            Marker::Circle => Vec::new(),
            Marker::Square => scaled(&[[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]),
            Marker::Triangle => scaled(&[[0.0, -1.2], [1.1, 0.8], [-1.1, 0.8]]),
            Marker::Diamond => scaled(&[[0.0, -1.25], [1.25, 0.0], [0.0, 1.25], [-1.25, 0.0]]),
            Marker::Down => scaled(&[[0.0, 1.2], [-1.1, -0.8], [1.1, -0.8]]),
            Marker::Plus => scaled(&PLUS),
            Marker::Cross => {
                let turned = |[x, y]: [f64; 2]| {
                    let half = std::f64::consts::FRAC_1_SQRT_2;
                    [(x - y) * half, (x + y) * half]
                };
                scaled(&PLUS.map(turned))
            }
        }
    }
}

/// Colours for values from 0 to 1, dark to light: cividis (Nuñez, Anderton and Renslow 2018), which
/// looks nearly the same with any kind of colour vision, and in grey.
pub fn sequential(value: f64) -> Colour {
    const CIVIDIS: [Colour; 6] = [
        Colour(0x00, 0x22, 0x4e),
        Colour(0x3b, 0x49, 0x6c),
        Colour(0x6c, 0x6e, 0x72),
        Colour(0x96, 0x90, 0x72),
        Colour(0xc8, 0xb8, 0x66),
        Colour(0xfd, 0xe7, 0x37),
    ];
    along(&CIVIDIS, value)
}

/// Colours for values from −1 over 0, which is white, to 1: vermilion to blue, both of Okabe and Ito.
pub fn diverging(value: f64) -> Colour {
    const ENDS: [Colour; 5] = [
        Colour(0xb3, 0x45, 0x00),
        Colour(0xee, 0xa2, 0x6b),
        Colour(0xf7, 0xf7, 0xf7),
        Colour(0x7a, 0xb4, 0xdb),
        Colour(0x00, 0x5a, 0x91),
    ];
    along(&ENDS, value.clamp(-1.0, 1.0) / 2.0 + 0.5)
}

fn along(colours: &[Colour], value: f64) -> Colour {
    let place = value.clamp(0.0, 1.0) * (colours.len() - 1) as f64;
    let lower = (place.floor() as usize).min(colours.len() - 2);
    colours[lower].between(colours[lower + 1], place - lower as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_categories_look_different_and_letters_can_be_read_on_every_colour() {
        let styles: Vec<Style> = (0..56).map(style).collect();
        for (place, style) in styles.iter().enumerate() {
            assert!(!styles[..place].contains(style));
        }
        assert_eq!(sequential(0.0).letters(), Colour::PAPER);
        assert_eq!(sequential(1.0).letters(), Colour::INK);
        assert_eq!(diverging(0.0), Colour(0xf7, 0xf7, 0xf7));
        assert_eq!(diverging(-9.0), Colour(0xb3, 0x45, 0x00));
    }
}
