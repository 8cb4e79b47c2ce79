"""From an image to a map of its nuclei, without annotations (paper Sec. 3.2).

================  ===========================================================================================
`protocol`        what a segmenter is, and the check of what one returns
`gmm`             the paper's segmenter: stretching, adaptive threshold, Gaussian mixture on colour
`mixture`         that mixture, fitted to a colour histogram
`borders`         where the picture is inside its letter-box
`regions`         which of several candidate regions are nuclei: those with the sharpest outline
`hed`             colour deconvolution, Otsu's threshold on haematoxylin
`kmeans`          k-means clusters of colours in CIE Lab
`otsu`            multi-level Otsu thresholds
`watershed`       touching nuclei as instances, from the mask of one of the others
`classic`         what `hed`, `kmeans` and `otsu` share
`stains`          colours as light absorbed, and which colour classes are nuclei
`scale`           sizes that shrink with the image
`splitting`       touching nuclei told apart by the necks between them
`cleaning`        physical clean-up of masks
`splitting`       touching nuclei told apart
`instances`       one number a nucleus, and the clean-up of each by itself
`levels`          the three-level map
`recipe`          segmenter, clean-up and levels as one value
`diagnosis`       the rule by which a mask is left out, and which masks are worth a look
`overlay`         nuclei outlined on their image
`inputs`          what counts as an image, and as a collection of images
`resolve`         from a name, class or callable with parameters to one segmenter
`extraction`      the masks of many images, in order
`cache`           masks remembered by the content of the image
`parallel`        many images, on any backend of joblib
`transport`       images and masks on their way between processes
================  ===========================================================================================

Everything here works on ``(H, W, 3)`` uint8 RGB arrays and imports neither torch nor another wing of the house.
`syncgan.MaskExtractor` is the front door.
"""
