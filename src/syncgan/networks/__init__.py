"""The networks: U-Net, PatchGAN, mask generators and the up-sampling convolution. Nothing here trains."""
