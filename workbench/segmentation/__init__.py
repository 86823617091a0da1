"""What a network learned from the labels: U-Net, training, prediction, polygons."""
