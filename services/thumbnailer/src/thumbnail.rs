//! What is wanted of an image, and what is made of it.

/// How an image comes to a size. [Spec](https://spec.matrix.org/v1.19/client-server-api/#thumbnails).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Keeps the shape: as large as fits into the size.
    Scale,
    /// Takes the shape of the size: what stands over is cut off, on both sides alike.
    Crop,
}

/// A thumbnail that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// In pixels, at least 1.
    pub width: u32,
    /// In pixels, at least 1.
    pub height: u32,
    /// How the image comes to this size.
    pub method: Method,
}

/// A type that thumbnails have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageType {
    /// `image/jpeg`.
    Jpeg,
    /// `image/png`.
    Png,
    /// `image/webp`.
    WebP,
}

/// An answer to what is [`Wanted`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// A thumbnail.
    Thumbnail(Picture),
    /// The image is no larger than what is wanted, and does not move: it may stand for its own thumbnail.
    Original(ImageType),
}

/// An image as the box hands it out: pixels alone, without what the original said about place, time or camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its type.
    pub kind: ImageType,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The file.
    pub bytes: Vec<u8>,
}

/// The part of an image that is taken, and the size it comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Plan {
    /// Left, top, width, height: in pixels of the image.
    pub(crate) part: (f64, f64, f64, f64),
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl ImageType {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
        }
    }
}

impl Wanted {
    /// Whether an image of this size is no larger.
    pub(crate) fn covers(self, width: u32, height: u32) -> bool {
        width <= self.width && height <= self.height
    }

    /// The same for an image that lies on its side.
    pub(crate) fn turned(self) -> Self {
        Self {
            width: self.height,
            height: self.width,
            ..self
        }
    }

    /// How an image of this size comes to the wanted one. It is never enlarged.
    pub(crate) fn plan(self, width: u32, height: u32) -> Plan {
        let (full_width, full_height) = (f64::from(width), f64::from(height));
        let across = f64::from(self.width) / full_width;
        let down = f64::from(self.height) / full_height;
        match self.method {
            Method::Scale => {
                let factor = across.min(down).min(1.0);
                Plan {
                    part: (0.0, 0.0, full_width, full_height),
                    width: pixels(full_width * factor, width),
                    height: pixels(full_height * factor, height),
                }
            }
            Method::Crop => {
                let factor = across.max(down);
                let part_width = (f64::from(self.width) / factor).min(full_width);
                let part_height = (f64::from(self.height) / factor).min(full_height);
                let left = (full_width - part_width) / 2.0;
                let top = (full_height - part_height) / 2.0;
                Plan {
                    part: (left, top, part_width, part_height),
                    width: pixels(part_width * factor.min(1.0), self.width.min(width)),
                    height: pixels(part_height * factor.min(1.0), self.height.min(height)),
                }
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it lies between 1 and the limit"
)]
fn pixels(size: f64, limit: u32) -> u32 {
    (size.round() as u32).clamp(1, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(method: Method, wanted: (u32, u32), image: (u32, u32)) -> (u32, u32) {
        let wanted = Wanted {
            width: wanted.0,
            height: wanted.1,
            method,
        };
        let plan = wanted.plan(image.0, image.1);
        (plan.width, plan.height)
    }

    #[test]
    fn scaling_keeps_the_shape_and_never_enlarges() {
        use Method::Scale;
        assert_eq!(plan(Scale, (800, 600), (4000, 3000)), (800, 600));
        assert_eq!(plan(Scale, (800, 600), (3000, 4000)), (450, 600));
        assert_eq!(plan(Scale, (320, 240), (1000, 100)), (320, 32));
        assert_eq!(plan(Scale, (320, 240), (100, 50)), (100, 50));
        assert_eq!(plan(Scale, (32, 32), (60_000, 1)), (32, 1));
    }

    #[test]
    fn cropping_takes_the_wanted_shape_from_the_middle() {
        use Method::Crop;
        assert_eq!(plan(Crop, (96, 96), (4000, 3000)), (96, 96));
        assert_eq!(plan(Crop, (96, 96), (200, 50)), (50, 50));
        assert_eq!(plan(Crop, (96, 32), (48, 48)), (48, 16));
        assert_eq!(plan(Crop, (32, 32), (60_000, 1)), (1, 1));
        let wanted = Wanted {
            width: 96,
            height: 96,
            method: Crop,
        };
        assert_eq!(wanted.plan(4000, 3000).part, (500.0, 0.0, 3000.0, 3000.0));
    }
}
