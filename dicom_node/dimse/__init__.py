"""The only room with pynetdicom: storage, verification, commitment and MPPS services."""
