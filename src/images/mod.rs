//! Images where they are: a file of their own, base64 text inside a JSON file, or a cell of a Parquet
//! file. Nothing is unpacked to disk; an image is read when it is needed.
//!
//! Decoding is bounded, and an image's format is told from its content: published datasets have many
//! files with another format's ending (OCR-VQA has about 900 GIFs named `.jpg`).
//!
//! Unaware of samples, pools and models.

mod base64;
pub mod cells;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ::image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, RgbImage};
use serde::{Deserialize, Serialize};

pub use base64::decoded;

/// Images with a longer side are refused: nothing of use is that large.
pub const LONGEST_SIDE: u32 = 16_384;
/// Images with more pixels are refused. Pillow, through which the authors read images, draws the line
/// at the same number (twice its `MAX_IMAGE_PIXELS`).
pub const MOST_PIXELS: u64 = 178_956_970;
/// Bytes in which an image's header is looked for first; profiles and previews before it can be longer.
const HEAD: u64 = 1 << 16;
/// Most bytes that decoding an image may allocate.
const MOST_DECODED: u64 = 1 << 30;
/// Most bytes of an encoded image.
const MOST_ENCODED: u64 = 1 << 28;

/// Where an image is on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file that is the image, or has it inside.
    pub file: PathBuf,
    /// Which part of the file it is.
    pub part: Part,
}

/// Which part of a file an image is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The whole file.
    #[default]
    Whole,
    /// Base64 text: the inside of a JSON string.
    Base64 {
        /// First byte of the text in the file.
        offset: u64,
        /// Bytes of the text.
        length: u64,
    },
    /// A cell of a Parquet file, in the column that [`cells::image_column`] finds.
    Cell {
        /// Row in the file, counted from 0.
        row: u64,
        /// Which of the row's images, counted from 0.
        image: u32,
    },
}

/// Why there is no image at a place.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// There is no such file, row or cell.
    #[error("it is missing")]
    Missing,
    /// What is there is no image of a known format, or is cut off.
    #[error("it is unreadable: {0}")]
    Unreadable(String),
    /// An image whose decoding would take too much memory.
    #[error(
        "it has {width} × {height} pixels, and no more than {LONGEST_SIDE} a side and {MOST_PIXELS} in all are decoded"
    )]
    TooLarge {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
}

impl Part {
    /// Whether the image is a file of its own.
    pub fn is_whole(&self) -> bool {
        *self == Part::Whole
    }
}

impl From<PathBuf> for Place {
    /// The image that a file is.
    fn from(file: PathBuf) -> Place {
        Place { file, part: Part::Whole }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match self.part {
            Part::Whole => write!(formatter, "`{file}`"),
            Part::Base64 { offset, .. } => write!(formatter, "base64 text at byte {offset} of `{file}`"),
            Part::Cell { row, image } => write!(formatter, "image {image} of row {row} of `{file}`"),
        }
    }
}

impl Place {
    /// The encoded image.
    ///
    /// # Errors
    ///
    /// If it is missing, cannot be read, or is larger than any image of use.
    pub fn bytes(&self) -> Result<Vec<u8>, Flaw> {
        match self.part {
            Part::Whole => {
                small_enough(fs::metadata(&self.file)?.len())?;
                Ok(fs::read(&self.file)?)
            }
            Part::Base64 { offset, length } => {
                small_enough(length)?;
                let mut text = vec![0; length as usize];
                File::open(&self.file)?.read_exact_at(&mut text, offset)?;
                decoded(&text)
            }
            Part::Cell { row, image } => cells::bytes(&self.file, row, image),
        }
    }

    /// Width and height in pixels; only the header is decoded.
    ///
    /// # Errors
    ///
    /// If there is no readable image, or it is too large to decode.
    pub fn size(&self) -> Result<(u32, u32), Flaw> {
        match self.part {
            Part::Whole => {
                // Some decoders read a file to its end to tell its size.
                let mut file = File::open(&self.file)?;
                let mut head = Vec::with_capacity(HEAD as usize);
                file.by_ref().take(HEAD).read_to_end(&mut head)?;
                match size_of(&head) {
                    Err(Flaw::Unreadable(_)) if head.len() as u64 == HEAD => {
                        file.rewind()?;
                        size(BufReader::new(file))
                    }
                    told => told,
                }
            }
            _ => size_of(&self.bytes()?),
        }
    }

    /// The image. Transparency is dropped, and of an animation there is the first frame.
    ///
    /// # Errors
    ///
    /// If there is no readable image, or it is too large to decode.
    pub fn decode(&self) -> Result<RgbImage, Flaw> {
        match self.part {
            Part::Whole => decode(BufReader::new(File::open(&self.file)?)),
            _ => decode_bytes(&self.bytes()?),
        }
    }
}

/// Width and height of an encoded image; only its header is decoded.
///
/// # Errors
///
/// If it is not a readable image, or too large to decode.
pub fn size_of(bytes: &[u8]) -> Result<(u32, u32), Flaw> {
    size(Cursor::new(bytes))
}

/// An encoded image decoded.
///
/// # Errors
///
/// If it is not a readable image, or too large to decode.
pub fn decode_bytes(bytes: &[u8]) -> Result<RgbImage, Flaw> {
    decode(Cursor::new(bytes))
}

/// The usual ending of the name of a file with an encoded image; `img` for a format that is not known.
pub fn ending(bytes: &[u8]) -> &'static str {
    let format = ::image::guess_format(bytes).ok();
    format.and_then(|format| format.extensions_str().first().copied()).unwrap_or("img")
}

fn size(source: impl BufRead + Seek) -> Result<(u32, u32), Flaw> {
    let decoder = ImageReader::new(source).with_guessed_format()?.into_decoder()?;
    bounded(decoder.dimensions())
}

fn decode(source: impl BufRead + Seek) -> Result<RgbImage, Flaw> {
    let mut decoder = ImageReader::new(source).with_guessed_format()?.into_decoder()?;
    // Before the limits of the decoder: its own error does not say how large the image is.
    bounded(decoder.dimensions())?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_DECODED);
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;
    let image = DynamicImage::from_decoder(decoder)?;
    Ok(match image.color() {
        // Pillow keeps the upper byte of deep colours, and rounds nothing.
        ColorType::Rgb16 | ColorType::Rgba16 => {
            let deep = image.into_rgb16();
            let upper = |value: u16| (value >> 8) as u8;
            RgbImage::from_fn(deep.width(), deep.height(), |x, y| ::image::Rgb(deep.get_pixel(x, y).0.map(upper)))
        }
        _ => image.into_rgb8(),
    })
}

fn bounded((width, height): (u32, u32)) -> Result<(u32, u32), Flaw> {
    if width == 0 || height == 0 {
        return Err(Flaw::Unreadable("it has no pixels".into()));
    }
    if width.max(height) > LONGEST_SIDE || u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(Flaw::TooLarge { width, height });
    }
    Ok((width, height))
}

fn small_enough(length: u64) -> Result<(), Flaw> {
    if length <= MOST_ENCODED {
        return Ok(());
    }
    let (most, length) = (crate::text::bytes(MOST_ENCODED), crate::text::bytes(length));
    Err(Flaw::Unreadable(format!("it takes {length}, and no more than {most} are read")))
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Flaw {
        match error.kind() {
            io::ErrorKind::NotFound => Flaw::Missing,
            _ => Flaw::Unreadable(error.to_string()),
        }
    }
}

impl From<ImageError> for Flaw {
    fn from(error: ImageError) -> Flaw {
        match error {
            ImageError::IoError(error) => Flaw::from(error),
            error => Flaw::Unreadable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ::base64::Engine as _;
    use ::base64::engine::general_purpose::STANDARD;
    use ::image::{ImageFormat, Rgb};

    use super::*;

    /// A picture of one colour in a format.
    fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::from_pixel(width, height, Rgb([200, 10, 10])).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// A PNG that says it has `side` × `side` pixels and has nothing but its header.
    fn bomb(side: u32) -> Vec<u8> {
        let mut header = b"IHDR".to_vec();
        header.extend([side.to_be_bytes(), side.to_be_bytes()].concat());
        header.extend([8, 2, 0, 0, 0]);
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
        bytes.extend(&header);
        bytes.extend(checksum(&header).to_be_bytes());
        bytes.extend(b"\0\0\0\x08IDAT\x78\x9c\x63\0\0\0\x01\0\x01");
        bytes
    }

    /// CRC-32 as PNG has it.
    fn checksum(bytes: &[u8]) -> u32 {
        let step = |sum: u32, byte: &u8| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
        };
        !bytes.iter().fold(u32::MAX, step)
    }

    #[test]
    fn a_file_is_known_by_its_content_not_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        for (name, format) in
            [("gif.jpg", ImageFormat::Gif), ("png.jpg", ImageFormat::Png), ("no-ending", ImageFormat::Jpeg)]
        {
            let place = Place::from(directory.path().join(name));
            fs::write(&place.file, picture(4, 3, format)).unwrap();
            assert_eq!(place.size().unwrap(), (4, 3));
            assert_eq!(place.decode().unwrap().dimensions(), (4, 3));
        }
    }

    #[test]
    fn an_image_in_base64_is_read_from_its_place_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rows.jsonl");
        let text = STANDARD.encode(picture(3, 2, ImageFormat::Png));
        fs::write(&file, format!("{{\"image\": \"{text}\"}}")).unwrap();
        let part = Part::Base64 { offset: 11, length: text.len() as u64 };
        let place = Place { file, part };
        assert_eq!(place.decode().unwrap().get_pixel(0, 0), &Rgb([200, 10, 10]));
        assert_eq!(place.size().unwrap(), (3, 2));
        let past = Place { part: Part::Base64 { offset: 1000, length: 8 }, ..place };
        assert!(matches!(past.bytes(), Err(Flaw::Unreadable(_))));
    }

    #[test]
    fn an_image_bomb_is_refused_by_its_header() {
        for side in [LONGEST_SIDE + 1, 14_000] {
            let problem = decode_bytes(&bomb(side)).unwrap_err();
            assert!(matches!(problem, Flaw::TooLarge { width, .. } if width == side), "{problem}");
            assert!(size_of(&bomb(side)).is_err());
        }
        assert_eq!(size_of(&bomb(13_000)).unwrap(), (13_000, 13_000));
    }

    #[test]
    fn what_is_no_image_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| Place::from(directory.path().join(name));
        assert!(matches!(place("gone.png").decode(), Err(Flaw::Missing)));
        fs::write(directory.path().join("text.png"), "no image").unwrap();
        assert!(matches!(place("text.png").decode(), Err(Flaw::Unreadable(_))));
        let whole = picture(64, 64, ImageFormat::Png);
        fs::write(directory.path().join("cut.png"), &whole[..whole.len() - 30]).unwrap();
        assert_eq!(place("cut.png").size().unwrap(), (64, 64), "its header is sound");
        assert!(matches!(place("cut.png").decode(), Err(Flaw::Unreadable(_))));
    }

    #[test]
    fn a_part_is_written_in_few_words_and_read_back() {
        let parts = [Part::Whole, Part::Base64 { offset: 7, length: 9 }, Part::Cell { row: 3, image: 1 }];
        let texts = parts.map(|part| serde_json::to_string(&part).unwrap());
        assert_eq!(texts, ["\"whole\"", r#"{"base64":{"offset":7,"length":9}}"#, r#"{"cell":{"row":3,"image":1}}"#]);
        assert_eq!(texts.map(|text| serde_json::from_str::<Part>(&text).unwrap()), parts);
    }
}
