// The configuration of the OHIF viewer (3.13) beside a PACS that answers DICOMweb at /dicom-web on the same host: its
// app-config.js. What the customisation does for our reports is in docs/viewers.md.

// Where the words of each picture stand already, so that those of the next measurement go below them.
const placed = {};

function placeWords(measurement) {
  const { GraphicData: points, ReferencedSOPSequence: picture } = measurement.coords[0];
  if (!picture || !points) return;
  const uid = picture.ReferencedSOPInstanceUID;
  const frame = picture.ReferencedFrameNumber || 1;
  const images = services.displaySetService.getActiveDisplaySets().flatMap((it) => it.images || []);
  const image = images.find((it) => it.SOPInstanceUID === uid);
  if (!image || measurement.textBox) return;
  const ys = points.filter((_, place) => place % 2);
  const right = Math.max(...points.filter((_, place) => place % 2 === 0));
  const x = Math.min(right + 0.02 * image.Columns, 0.73 * image.Columns);
  let y = (Math.min(...ys) + Math.max(...ys)) / 2;
  const others = (placed[`${uid} ${frame}`] ??= []);
  const covers = ([otherX, otherY]) =>
    Math.abs(x - otherX) < 0.35 * image.Columns && Math.abs(y - otherY) < 0.05 * image.Rows;
  while (others.some(covers)) y += 0.01 * image.Rows;
  others.push([x, y]);
  measurement.textBox = { worldPosition: cornerstone.utilities.imageToWorldCoords(image.imageId, [x, y]) };
}

window.config = {
  routerBasename: "/",
  extensions: [],
  modes: [],
  showStudyList: true,
  defaultDataSourceName: "pacs",
  dataSources: [
    {
      namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
      sourceName: "pacs",
      configuration: {
        friendlyName: "PACS",
        name: "pacs",
        qidoRoot: "/dicom-web",
        wadoRoot: "/dicom-web",
        wadoUriRoot: "/dicom-web",
        qidoSupportsIncludeField: false,
        imageRendering: "wadors",
        thumbnailRendering: "wadors",
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        omitQuotationForMultipartRequest: true,
      },
    },
  ],
  customizationService: [
    {
      onBeforeSRAddMeasurement: {
        $set: ({ measurement }) => {
          // OHIF 3.12 and 3.13 end with "Something went wrong" at a group of a report that has no region in an image
          // (PS3.16 TID 1501), as those for planes and for the run as a whole are. It is told that they have no image.
          if (!measurement.coords.length) measurement.coords = [{}];
          // They name a finding site by its code: "363698007: Thalamus".
          for (const line of measurement.labels) if (line.label === "363698007") line.label = "Finding site";
          // They show a probability without the class that it is of: three numbers that say nothing. The report has both.
          measurement.labels = measurement.labels.filter((line) => line.label !== "Probability");
          placeWords(measurement);
          return measurement;
        },
      },
    },
  ],
};
