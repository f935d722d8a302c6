from django.apps import AppConfig


class BlobsConfig(AppConfig):
    name = "hub.blobs"
