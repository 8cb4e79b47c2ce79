"""From an image to a map of its nuclei, without annotations (paper Sec. 3.2).

================  ===========================================================================================
**segmenters**
`auto`            the default: every nucleus at the threshold that suits it
`gmm`             the paper's: stretching, adaptive threshold, Gaussian mixture on colour
`hed`             colour deconvolution, Otsu's threshold on haematoxylin
`kmeans`          k-means clusters of colours in CIE Lab
`otsu`            multi-level Otsu thresholds
`watershed`       touching nuclei as instances, from the mask of one of the others
**what they share**
`regions`         which of several nested candidate regions are nuclei
`mixture`         a Gaussian mixture fitted to a colour histogram
`stains`          colours as light absorbed, and which colours are nuclear
`borders`         where the picture is inside its letter-box
`splitting`       touching nuclei told apart by the necks between them
`cleaning`        physical clean-up of masks
`scale`           sizes that shrink with the image
`classic`         the frame of `hed`, `kmeans` and `otsu`, and the clean-up that `gmm` shares
**around a segmenter**
`protocol`        what a segmenter is, and the check of what one returns
`resolve`         from a name, class or callable with parameters to one segmenter
`recipe`          segmenter, clean-up and levels as one value
`instances`       one number a nucleus, and the clean-up of each by itself
`levels`          the three-level map
`diagnosis`       the rule by which a mask is left out, and which masks are worth a look
`overlay`         nuclei outlined on their image
**many images**
`inputs`          what counts as an image, and as a collection of images
`extraction`      the masks of many images, in order
`parallel`        on any backend of joblib
`transport`       images and masks on their way between processes
`cache`           masks remembered by the content of the image
================  ===========================================================================================

Everything here works on ``(H, W, 3)`` uint8 RGB arrays and imports neither torch nor another wing of the house.
`syncgan.MaskExtractor` is the front door.
"""
