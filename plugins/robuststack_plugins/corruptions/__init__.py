"""Natural shifts of images: noise, blur, contrast, brightness, pixelation and JPEG."""
