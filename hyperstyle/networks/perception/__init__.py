"""Networks that compare images or read attributes: LPIPS, ArcFace, MoCo, VGG16, MTCNN, attributes."""
