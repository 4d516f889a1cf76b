//! From the bytes of an image to those of its thumbnails. Runs in the worker only.

use std::io::Cursor;

use fast_image_resize::{
    FilterType, IntoImageView, IntoImageViewMut, PixelTrait, ResizeAlg, ResizeOptions, Resizer,
    pixels,
};
use image::{
    ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
    codecs::{
        jpeg::JpegEncoder,
        png::{CompressionType, FilterType as PngFilter, PngDecoder, PngEncoder},
        webp::WebPDecoder,
    },
    metadata::Orientation,
};

use crate::{
    Failure,
    thumbnail::{ImageType, Made, Picture, Wanted},
};

/// The most pixels that an image may have. Telephones make 50 million.
const MAX_PIXELS: u64 = 64 * 1024 * 1024;

/// The longest side that an image may have, in pixels. No format here has longer ones but for PNG.
const MAX_SIDE: u32 = 65_535;

/// What a decoded image may take, in bytes.
const MAX_DECODED: u64 = 256 * 1024 * 1024;

/// Good enough for a small picture.
const JPEG_QUALITY: u8 = 82;

/// Makes the wanted thumbnails of an image, in that order.
pub(crate) fn thumbnails(bytes: &[u8], wanted: &[Wanted]) -> Result<Vec<Made>, Failure> {
    let format = image::guess_format(bytes).map_err(|_| Failure::Unsupported)?;
    let still = still(bytes, format)?;
    let (image, orientation) = decode(bytes, format)?;
    wanted
        .iter()
        .map(|wanted| {
            // The image is turned when it is small.
            let wanted = if turns(orientation) {
                wanted.turned()
            } else {
                *wanted
            };
            match still {
                Some(kind) if wanted.covers(image.width(), image.height()) => {
                    Ok(Made::Original(kind))
                }
                _ => {
                    let small = shrink(&image, orientation, wanted)?;
                    encode(small, format == ImageFormat::Png).map(Made::Thumbnail)
                }
            }
        })
        .collect()
}

/// What type an image is that may stand for its own thumbnail: one that does not move.
fn still(bytes: &[u8], format: ImageFormat) -> Result<Option<ImageType>, Failure> {
    Ok(match format {
        ImageFormat::Jpeg => Some(ImageType::Jpeg),
        ImageFormat::Png => {
            let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits());
            let moves = decoder.and_then(|decoder| decoder.is_apng());
            (!moves.map_err(failure)?).then_some(ImageType::Png)
        }
        ImageFormat::WebP => {
            let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(failure)?;
            (!decoder.has_animation()).then_some(ImageType::WebP)
        }
        ImageFormat::Gif => None,
        _ => return Err(Failure::Unsupported),
    })
}

/// The image, or the first of those that move, and how it has to be turned.
fn decode(bytes: &[u8], format: ImageFormat) -> Result<(DynamicImage, Orientation), Failure> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits());
    let mut decoder = reader.into_decoder().map_err(failure)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(Failure::Damaged);
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS || decoder.total_bytes() > MAX_DECODED {
        return Err(Failure::TooLarge);
    }
    // Whoever wrote nonsense there wants the image as it is.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(failure)?;
    Ok((image, orientation))
}

fn shrink(
    image: &DynamicImage,
    orientation: Orientation,
    wanted: Wanted,
) -> Result<DynamicImage, Failure> {
    let plan = wanted.plan(image.width(), image.height());
    let (left, top, width, height) = plan.part;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom))
        .crop(left, top, width, height);
    let mut small = DynamicImage::new(plan.width, plan.height, image.color());
    // What these formats hold, and no floating point: the compiler makes other code of that each time, and two builders of the
    // operating system shall get the same.
    let resize = match image.color() {
        ColorType::L8 => resize::<pixels::U8>,
        ColorType::La8 => resize::<pixels::U8x2>,
        ColorType::Rgb8 => resize::<pixels::U8x3>,
        ColorType::Rgba8 => resize::<pixels::U8x4>,
        ColorType::L16 => resize::<pixels::U16>,
        ColorType::La16 => resize::<pixels::U16x2>,
        ColorType::Rgb16 => resize::<pixels::U16x3>,
        ColorType::Rgba16 => resize::<pixels::U16x4>,
        _ => return Err(Failure::Unsupported),
    };
    resize(image, &mut small, &options).ok_or(Failure::Unsupported)?;
    small.apply_orientation(orientation);
    Ok(plain(small))
}

fn resize<P: PixelTrait>(
    image: &DynamicImage,
    small: &mut DynamicImage,
    options: &ResizeOptions,
) -> Option<()> {
    let (from, mut to) = (image.image_view::<P>()?, small.image_view_mut::<P>()?);
    Resizer::new().resize_typed(&from, &mut to, options).ok()
}

/// JPEG, but PNG where something shines through, and where the original is `lossless`: lines and letters stay sharp.
fn encode(image: DynamicImage, lossless: bool) -> Result<Picture, Failure> {
    let (width, height) = (image.width(), image.height());
    let mut bytes = Vec::new();
    let kind = if lossless || shines_through(&image) {
        let (compression, filter) = (CompressionType::Fast, PngFilter::Adaptive);
        let encoder = PngEncoder::new_with_quality(&mut bytes, compression, filter);
        image.write_with_encoder(encoder).map_err(failure)?;
        ImageType::Png
    } else {
        let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
        let written = match image {
            DynamicImage::ImageLuma8(image) => image.write_with_encoder(encoder),
            image => image.into_rgb8().write_with_encoder(encoder),
        };
        written.map_err(failure)?;
        ImageType::Jpeg
    };
    Ok(Picture {
        kind,
        width,
        height,
        bytes,
    })
}

/// The same in 8 bits for each colour, which is all that a screen shows.
fn plain(image: DynamicImage) -> DynamicImage {
    match image {
        DynamicImage::ImageLuma16(_) => DynamicImage::ImageLuma8(image.into_luma8()),
        DynamicImage::ImageLumaA16(_) => DynamicImage::ImageLumaA8(image.into_luma_alpha8()),
        DynamicImage::ImageRgb16(_) => DynamicImage::ImageRgb8(image.into_rgb8()),
        DynamicImage::ImageRgba16(_) => DynamicImage::ImageRgba8(image.into_rgba8()),
        other => other,
    }
}

fn shines_through(image: &DynamicImage) -> bool {
    image.color().has_alpha() && image.to_rgba8().pixels().any(|pixel| pixel[3] < u8::MAX)
}

fn turns(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(2 * MAX_DECODED);
    limits
}

fn failure(error: ImageError) -> Failure {
    match error {
        ImageError::Limits(_) => Failure::TooLarge,
        ImageError::Unsupported(_) => Failure::Unsupported,
        _ => Failure::Damaged,
    }
}
